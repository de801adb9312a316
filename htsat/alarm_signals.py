"""The signals of alarms, sirens, telephones and doorbells, each with the source of its figures.

Where a standard gives tolerances, ranges are those; where there is none, they are what devices were found to do.
`OTHERS` are sounds with tones that are no alarm, to learn the difference by.
"""

from __future__ import annotations

from htsat_edge.htsat.alarm_patterns import (
    Housing,
    Pattern,
    Struck,
    Tone,
    beat,
    clock_beeps,
    digits,
    few_beeps,
    melody,
    pulses,
    ring,
    some_glides,
)

DISC = Housing((400, 1500), (6000, 15000))
"""Of a piezoelectric disc."""
SPEAKER = Housing((120, 500), (4000, 15000))
HORN = Housing((250, 600), (3000, 9000))
HANDSET = Housing((250, 400), (3000, 4000))
"""ITU-T G.712: a channel of the telephone network passes 300 to 3 400 Hz."""
BARE = Housing((30, 100), (10000, 15000))

PIEZO = Tone((0.3, 0.5), (0, 12))
SQUARE = Tone((0.35, 0.5), (0, 4))
PURE = Tone((0.5, 0.5), (18, 40), (0.002, 0.012))
ELECTRONIC = Tone((0.15, 0.5), (0, 20))
TWO_TONE = Tone((0.08, 0.35), (0, 4), (0.01, 0.05), (4, 8), (0, 0.003))
AIR_HORN = Tone((0.08, 0.3), (0, 3), (0.02, 0.06), (4, 7), (0, 0.004), (0, 0.1))
ROTOR = Tone((0.2, 0.5), (2, 8), (0.05, 0.3), (3, 9), (0, 0.004), (0, 0.08))
BUZZER = Tone((0.02, 0.15), (-4, 0), (0.003, 0.02), (20, 40), (0, 0.01), (0, 0.1))
PEA_WHISTLE = Tone((0.5, 0.5), (10, 30), (0.01, 0.04), (15, 45), (0.005, 0.05), (0.1, 0.6))
LIPS = Tone((0.5, 0.5), (15, 40), (0.02, 0.08), (4, 7), (0, 0.02), (0.02, 0.2))
SQUEAK = Tone((0.1, 0.5), (0, 15), (0.005, 0.05), (20, 60), (0, 0.03), (0, 0.2))
FAN = Tone((0.2, 0.5), (6, 20), (0.1, 0.5), (1, 5), (0, 0.003), (0.5, 2))
# Modes: Fletcher and Rossing, The Physics of Musical Instruments, sections 2.15 (bars), 19.4 (marimba) and chapter 21
# (bells, whose modes come in pairs).
GONG = Struck((1, 1.005, 2.41, 2.43, 4.32, 6.6, 9.1), (0.4, 1.6), (0.1, 0.6), 0.12)
ALARM_BELL = Struck((1, 1.01, 2.2, 2.23, 3.9, 5.8, 8.0), (0.15, 0.7), (0.2, 1.0), 0.2)
BAR = Struck((1, 2.756, 5.404, 8.933), (1.0, 4.0))
MARIMBA = Struck((1, 3.93, 9.24), (0.2, 1.0), (0, 0.2), 0)
TINE = Struck((1, 6.267, 17.55), (0.5, 2.0), (0, 0.2), 0.05)
CHIP = Struck((1, 2, 2.756, 4.07, 5.404, 8.2), (1.2, 4.0), (0, 0.1), 0)
"""The imitation of a bell in an electronic chime."""

MAJOR = tuple(2 ** (step / 12) for step in (0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19))
PENTATONIC = tuple(2 ** (step / 12) for step in (0, 2, 4, 7, 9, 12, 14, 16, 19, 21, 24))

SMOKE = "Smoke detector, smoke alarm"
# ISO 8201, clause 4; ANSI/ASA S3.41; NFPA 72, 18.4.2: three pulses of 0.5 s, 0.5 s apart, then 1.5 s, all ± 10 %.
T3 = pulses(3, 0.5, 0.5, 1.5)
# UL 2034; NFPA 72 (formerly NFPA 720, 5.8.6.5): four pulses of 0.1 s, 0.1 s apart, then 5 s, all ± 10 %.
T4 = pulses(4, 0.1, 0.1, 5.0)
SMOKE_PATTERNS = (
    # Piezoelectric horns resonate near 3.1 kHz; EN 14604, 5.17, has 3.5 kHz as the highest.
    Pattern("t3-piezo", SMOKE, (2850, 3500), T3, PIEZO, DISC, share=4),
    # NFPA 72, 18.4.6.3, where people sleep: a square wave of 520 Hz ± 10 %.
    Pattern("t3-520", SMOKE, (468, 572), T3, SQUARE, SPEAKER, share=2),
    Pattern("t4-piezo", SMOKE, (2850, 3500), T4, PIEZO, DISC, share=2),
    Pattern("t4-520", SMOKE, (468, 572), T4, SQUARE, SPEAKER, held=True),
    # EN 14604 has no pattern: detectors beep fast, some with a short rise.
    Pattern("en-beeps", SMOKE, (2600, 3400), (beat(0.15, 0.1, glide=1.08),), PIEZO, DISC, (0.5, 2.5), (0.7, 1.3),
            (0, 1)),
    # Low battery (UL 217; EN 14604, 5.16): a chirp, at least once a minute.
    Pattern("low-battery", SMOKE, (2600, 3500), (beat(0.08, 40),), PIEZO, DISC, (0.5, 2.0), times=(1, 1)),
)  # fmt: skip

SIREN = "Siren"
WAIL = beat(1.2, 0, glide=2.3), beat(1.8, 0, 2.3, glide=1 / 2.3)
FAST = tuple(each._replace(on_s=each.on_s / 9) for each in WAIL)
ROW = 1, 1.2  # of ports: ten in one ring of a rotor, twelve in the other
SIREN_PATTERNS = (
    # California Code of Regulations, title 13, § 1028 (a): wail 10 to 30 cycles a minute, yelp 150 to 250.
    Pattern("wail", SIREN, (450, 800), WAIL, ELECTRONIC, HORN, (0.67, 2.0), span=(0.7, 1.4),
            outdoors=True, moving=True, share=3),
    Pattern("yelp", SIREN, (450, 800), WAIL, ELECTRONIC, HORN, (0.08, 0.133), span=(0.7, 1.4),
            outdoors=True, moving=True, share=2),
    # The driver switches between them.
    Pattern("switched", SIREN, (450, 800), WAIL + FAST * 8, ELECTRONIC, HORN, (0.7, 1.2), span=(0.7, 1.4),
            outdoors=True, moving=True, share=2),
    # Phaser, piercer: 10 to 20 falls a second.
    Pattern("phaser", SIREN, (1200, 2200), (beat(0.07, 0, glide=0.35),), ELECTRONIC, HORN, (0.7, 1.4),
            span=(0.5, 1.4), outdoors=True, moving=True),
    # DIN 14610: two tones from 360 to 630 Hz, a fourth apart. French order of 30 October 1987: 435 with 580 Hz,
    # 420 with 516 Hz, both 50 to 60 cycles a minute, or 435 with 488 Hz, 25 to 30 cycles.
    Pattern("hi-lo-horn", SIREN, (360, 472), (beat(0.7, 0), beat(0.7, 0, 4 / 3)), AIR_HORN, HORN, (0.6, 1.6),
            outdoors=True, moving=True, share=2),
    Pattern("hi-lo", SIREN, (400, 700), (beat(0.6, 0, 4 / 3), beat(0.6, 0)), TWO_TONE, HORN, (0.6, 1.8),
            span=(0.35, 1.5), outdoors=True, moving=True, share=2),
    # Ambulances of Japan: 960 and 770 Hz, 0.65 s each.
    Pattern("hi-lo-japan", SIREN, (755, 785), (beat(0.65, 0, 1.247), beat(0.65, 0)), TWO_TONE, HORN,
            outdoors=True, moving=True, held=True),
    # Motor sirens chop air with one or two rings of ports, and take seconds to change their speed.
    Pattern("rotor", SIREN, (300, 1200),
            (beat(4, 0, 0.35, 0.42, glide=1 / 0.35), beat(2.5, 0, *ROW), beat(5, 0, *ROW, glide=0.35)),
            ROTOR, HORN, (0.5, 1.5), outdoors=True, share=2),
    Pattern("wavering", SIREN, (250, 500), (beat(2, 0, glide=1.5), beat(2.2, 0, 1.5, glide=1 / 1.5)), ROTOR, HORN,
            (0.7, 1.6), span=(0.6, 1.6), outdoors=True, share=2),
    # Evacuation signals: NEN 2575, 500 to 1 200 Hz in 3.5 s, then 0.5 s; DIN 33404-3, 1 200 to 500 Hz in 1 s.
    Pattern("slow-whoop", SIREN, (480, 520), (beat(3.5, 0.5, glide=2.4),), ELECTRONIC, HORN),
    Pattern("din-33404", SIREN, (1150, 1250), (beat(1, 0, glide=1 / 2.4),), ELECTRONIC, HORN),
)  # fmt: skip

CLOCK = "Alarm clock"
CLOCK_PATTERNS = (
    # Quartz movements divide 32 768 Hz: 2 048 Hz, keyed at 8 Hz in one half of each second; in watches 4 096 Hz.
    Pattern("clock-four", CLOCK, (1900, 2200), pulses(4, 1 / 16, 1 / 16, 9 / 16), PIEZO, DISC,
            (0.8, 1.3), (0.8, 1.3), share=3),
    Pattern("clock-two", CLOCK, (3900, 4300), pulses(2, 0.06, 0.06, 0.82), PIEZO, DISC, (0.8, 1.2), held=True),
    # No standard: clocks with a radio, small digital ones, kitchen timers.
    Pattern("clock-radio", CLOCK, (600, 1500), clock_beeps, ELECTRONIC, SPEAKER, share=3),
    Pattern("clock-digital", CLOCK, (1900, 2750), clock_beeps, PIEZO, DISC, share=3),
    # A hammer between two bells.
    Pattern("clock-bells", CLOCK, (1500, 3200), ring(4, 0, 1, 1.12, rate=26), ALARM_BELL, BARE, (0.8, 1.9), share=4),
)  # fmt: skip

TELEPHONE = "Telephone"
TUNE = melody((5, 13), PENTATONIC, 0.16)
TELEPHONE_PATTERNS = (
    # A hammer between two gongs, by a current of 15 to 25 Hz (ETSI EN 300 001, 4.1.2): up to 50 strokes a second.
    # Cadences (ITU-T E.180, supplement 2): 2 s on, 4 s off in North America; 0.4, 0.2, 0.4 and 2 s in Britain.
    Pattern("bell", TELEPHONE, (900, 2200), ring(2, 4, 1, 1.22, rate=40), GONG, BARE, (0.8, 1.2), share=3),
    Pattern("bell-gb", TELEPHONE, (900, 2200), ring(0.4, 0.2, 1, 1.22, rate=45) + ring(0.4, 2, 1, 1.22, rate=45),
            GONG, BARE, share=2),
    # Tone ringers (data sheet of the Motorola MC34017): 808 and 1 010 Hz, or an octave on, in turns at 12.5 Hz.
    Pattern("warble", TELEPHONE, (404, 1616), ring(2, 4, 1, 1.25, rate=25), ELECTRONIC, DISC, (0.6, 1.4),
            span=(0.8, 1.5), share=3),
    Pattern("warble-gb", TELEPHONE, (404, 1616), ring(0.4, 0.2, 1, 1.25, rate=25) + ring(0.4, 2, 1, 1.25, rate=25),
            ELECTRONIC, DISC, span=(0.8, 1.5), share=2),
    Pattern("trimphone", TELEPHONE, (1600, 2400),
            ring(0.4, 0.2, 1, 1.06, 1.12, rate=48) + ring(0.4, 2, 1, 1.06, 1.12, rate=48), PURE, DISC, held=True),
    Pattern("tune", TELEPHONE, (700, 1800), TUNE, SQUARE, DISC, (0.7, 1.2), share=2),
    Pattern("dtmf", TELEPHONE, (0.985, 1.015), digits, PURE, HANDSET, (0.8, 1.2), times=(1, 1), share=3),
    # ITU-T E.180/Q.35, clauses 5 to 9: 400 to 450 Hz, 425 Hz for new ones; supplement 2 for North America.
    Pattern("dial", TELEPHONE, (0.97, 1.03), (beat(30, 0, 350, 440),), PURE, HANDSET),
    Pattern("dial-425", TELEPHONE, (400, 450), (beat(30, 0),), PURE, HANDSET),
    Pattern("ringing", TELEPHONE, (0.97, 1.03), (beat(2, 4, 440, 480),), PURE, HANDSET),
    Pattern("ringing-425", TELEPHONE, (400, 450), (beat(1, 4),), PURE, HANDSET),
    Pattern("busy", TELEPHONE, (0.97, 1.03), (beat(0.5, 0.5, 480, 620),), PURE, HANDSET, (0.5, 1.1)),
    Pattern("busy-425", TELEPHONE, (400, 450), (beat(0.5, 0.5),), PURE, HANDSET, (0.4, 1.1), (0.8, 1.2)),
    # E.180, clause 8: the special information tone. Howler of North America: the receiver is off the hook.
    Pattern("information", TELEPHONE, (0.97, 1.03), (beat(0.33, 0, 950), beat(0.33, 0, 1400), beat(0.33, 1, 1800)),
            PURE, HANDSET),
    Pattern("howler", TELEPHONE, (0.97, 1.03), (beat(0.1, 0.1, 1400, 2060, 2450, 2600),), PURE, HANDSET),
)  # fmt: skip

DOORBELL = "Doorbell"
DING_DONG = beat(0.6, 0, 1.26), beat(1.8, 0.5)
WESTMINSTER = beat(0.6, 0, 1.26), beat(0.6, 0, 1.122), beat(0.6, 0), beat(1.2, 1, 0.749)
DOORBELL_PATTERNS = (
    # Two bars, in most a major third apart: a push strikes the upper one, its release the lower one.
    Pattern("ding-dong", DOORBELL, (480, 950), DING_DONG, BAR, BARE, (0.6, 1.4), span=(0.7, 1.8),
            times=(1, 2), share=4),
    Pattern("ding-dong-chip", DOORBELL, (500, 1000), DING_DONG, CHIP, SPEAKER, (0.6, 1.4),
            span=(0.7, 1.8), times=(1, 2), share=4),
    Pattern("chime", DOORBELL, (400, 900), melody((3, 8), MAJOR, 0.4), CHIP, SPEAKER, (0.6, 1.3), times=(1, 1)),
    # The first of the Westminster quarters: g sharp, f sharp, e, b.
    Pattern("westminster", DOORBELL, (300, 600), WESTMINSTER, CHIP, SPEAKER, times=(1, 2), held=True),
    # An armature, at twice the frequency of mains.
    Pattern("buzzer", DOORBELL, (98, 122), (beat(0.8, 0.4),), BUZZER, SPEAKER, (0.4, 1.8), times=(1, 3), share=2),
)  # fmt: skip

REVERSING = "Reversing beeps"
REVERSING_PATTERNS = (
    # SAE J994; ISO 9533: 700 to 2 800 Hz, as long on as off ± 20 %, about one to two beeps a second.
    Pattern("reversing", REVERSING, (900, 1500), (beat(0.5, 0.5),), ELECTRONIC, HORN, (0.6, 1.2), (0.8, 1.2),
            outdoors=True, share=3),
    Pattern("reversing-high", REVERSING, (1500, 2800), (beat(0.4, 0.4),), PIEZO, DISC, (0.6, 1.3), (0.8, 1.2),
            outdoors=True, share=2),
    Pattern("reversing-low", REVERSING, (700, 900), (beat(0.5, 0.5),), SQUARE, HORN, (0.7, 1.2), (0.8, 1.2),
            outdoors=True),
)  # fmt: skip

OTHERS = (
    Pattern("beeps", "Beep, bleep", (400, 4500), few_beeps, ELECTRONIC, DISC, times=(1, 2), share=3),
    Pattern("monitor", "Beep, bleep", (400, 1100), (beat(0.1, 0.7),), PURE, SPEAKER, (0.7, 1.6)),
    Pattern("pea-whistle", "Whistle", (2000, 4000), (beat(0.8, 0.3),), PEA_WHISTLE, BARE, (0.3, 1.8), times=(1, 3),
            outdoors=True, share=2),
    Pattern("whistling", "Whistling", (500, 1000), melody((4, 14), MAJOR, 0.3), LIPS, BARE, (0.6, 1.4), times=(1, 1),
            share=2),
    Pattern("sine", "Sine wave", (80, 6000), (beat(30, 0),), PURE, BARE, share=2),
    Pattern("sweep", "Chirp tone", (50, 4000), (beat(6, 0.5, glide=8),), PURE, BARE, (0.1, 1.5), span=(-1, 1),
            times=(1, 1)),
    Pattern("glides", "Squeak", (300, 3000), some_glides, SQUEAK, BARE, times=(1, 2), share=2),
    Pattern("mains", "Mains hum", (49, 61), (beat(30, 0),), Tone((0.05, 0.4), (0, 8)), BARE),
    Pattern("fan", "Mechanical fan", (80, 900), (beat(30, 0, 1, 2.02),), FAN, BARE),
    Pattern("music-box", "Music", (500, 1200), melody((12, 40), MAJOR, 0.3), TINE, BARE, (0.7, 1.4), share=2),
    Pattern("synthesiser", "Music", (110, 500), melody((8, 40), MAJOR, 0.35, 3), ELECTRONIC, SPEAKER, (0.6, 1.4),
            share=2),
    Pattern("organ", "Music", (200, 800), melody((8, 40), MAJOR, 0.5), TWO_TONE, BARE, (0.6, 1.6), share=2),
    # Mallets, as of mobile phones: hardly to be told from music, so no class of its own.
    Pattern("marimba", "Ringtone", (400, 1100), TUNE, MARIMBA, SPEAKER, (0.7, 1.3)),
    Pattern("horn", "Vehicle horn, car horn, honking", (330, 480), (beat(0.7, 0.3, *ROW),), AIR_HORN, HORN, (0.2, 2.5),
            span=(0.6, 1.4), times=(1, 3), outdoors=True, moving=True),
    Pattern("cricket", "Cricket", (3500, 5500), pulses(3, 0.01, 0.012, 0.25), PURE, BARE, (0.6, 1.6), outdoors=True,
            share=2),
    Pattern("wind-chime", "Wind chime", (600, 1500), melody((8, 30), PENTATONIC, 0.25), BAR, BARE, (0.6, 2.0)),
)  # fmt: skip
