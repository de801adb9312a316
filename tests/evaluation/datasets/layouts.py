"""Data sets and exports as they lie on disk, in small: each function fills a folder and returns it."""

import json
import wave

import numpy as np

RATE, SECONDS = 16000, 0.5
ESC50_CLASSES = [(0, "dog"), (1, "rooster"), (10, "rain")]
URBAN_CLASSES = [(3, "dog_bark"), (8, "siren")]


def record(path, seconds=SECONDS, seed=0):
    """Write a recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 3000, round(RATE * seconds))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(noise.clip(-32768, 32767).astype("<i2").tobytes())
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def esc50(folder, folds=5):
    """ESC-50-master: in each fold a clip of each class, and a second of the dog's recording."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, folds + 1):
        for target, category in ESC50_CLASSES:
            source = 1000 * fold + target
            for take in "AB" if category == "dog" else "A":
                name = f"{fold}-{source}-{take}-{target}.wav"
                record(folder / "audio" / name, seed=source)
                rows.append(f"{name},{fold},{target},{category},{target == 0},{source},{take}")
    write(folder / "meta" / "esc50.csv", "\n".join(rows) + "\n")
    write(folder / "README.md", "# ESC-50\n")
    return folder


def urbansound8k(folder, folds=10):
    """UrbanSound8K: in each fold two slices of a recording for each class."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, folds + 1):
        for number, name in URBAN_CLASSES:
            source = 100000 + 10 * fold + number
            for piece in (0, 1):
                clip = f"{source}-{number}-0-{piece}.wav"
                record(folder / "audio" / f"fold{fold}" / clip, seed=source + piece)
                rows.append(f"{clip},{source},{60 + piece},{64 + piece},1,{fold},{number},{name}")
    write(folder / "metadata" / "UrbanSound8K.csv", "\n".join(rows) + "\n")
    write(folder / "UrbanSound8K_README.txt", "UrbanSound8K\n")
    write(folder / "audio" / "fold1" / ".DS_Store", "")
    return folder


def speech_commands(folder):
    """speech_commands_v0.02: two words of six speakers, and noise."""
    held = {"validation_list.txt": ["c0ffee01"], "testing_list.txt": ["beef0002"]}
    speakers = ["00000001", "00000002", "00000003", "00000004", *held["validation_list.txt"], *held["testing_list.txt"]]
    for word in ("yes", "no"):
        for seed, speaker in enumerate(speakers):
            record(folder / word / f"{speaker}_nohash_0.wav", seed=seed)
        record(folder / word / "00000001_nohash_1.wav", seed=9)
    for name, own in held.items():
        lines = [f"{word}/{speaker}_nohash_0.wav" for word in ("yes", "no") for speaker in own]
        write(folder / name, "\n".join(lines) + "\n")
    record(folder / "_background_noise_" / "white_noise.wav", seconds=1.0)
    write(folder / "_background_noise_" / "README.md", "noise\n")
    write(folder / "LICENSE", "CC BY 4.0\n")
    return folder


def fsd50k(folder):
    """FSD50K: five clips for development, three for evaluation, with labels up to the root of the ontology."""
    dev = [
        ("64760", "Electric_guitar,Guitar,Music", "/m/02sgy,/m/0342h,/m/04rlf", "train"),
        ("16399", "Bark,Dog,Animal", "/m/05tny_,/m/0bt9lr,/m/0jbk", "train"),
        ("16400", "Bark,Dog,Animal", "/m/05tny_,/m/0bt9lr,/m/0jbk", "train"),
        ("345111", "Bark,Dog,Animal", "/m/05tny_,/m/0bt9lr,/m/0jbk", "val"),
        ("345112", "Screech", "/m/07q8k13", "val"),
    ]
    test = [
        ("37199", "Electric_guitar,Guitar,Music", "/m/02sgy,/m/0342h,/m/04rlf"),
        ("37200", "Bark,Dog,Animal", "/m/05tny_,/m/0bt9lr,/m/0jbk"),
        ("37201", "Human_voice", "/m/09l8g"),
    ]
    truth = folder / "FSD50K.ground_truth"
    dev_rows = [f'{name},"{labels}","{mids}",{split}' for name, labels, mids, split in dev]
    write(truth / "dev.csv", "\n".join(["fname,labels,mids,split", *dev_rows]) + "\n")
    test_rows = [f'{name},"{labels}","{mids}"' for name, labels, mids in test]
    write(truth / "eval.csv", "\n".join(["fname,labels,mids", *test_rows]) + "\n")
    write(truth / "vocabulary.csv", "5,Animal,/m/0jbk\n7,Bark,/m/05tny_\n59,Dog,/m/0bt9lr\n")
    for part, clips in (("dev", dev), ("eval", test)):
        for name, *_ in clips:
            record(folder / f"FSD50K.{part}_audio" / f"{name}.wav", seed=int(name))
    write(folder / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", "{}\n")
    return folder


def desed(folder):
    """DESED's dataset/: strong and weak labels for training, strong ones for validation and evaluation."""
    strong = "filename\tonset\toffset\tevent_label\n"
    tables = {
        "train/weak.tsv": (
            "train/weak",
            "filename\tevent_labels\nYw1_0.000_10.000.wav\tDog,Speech\nYw2_0.000_10.000.wav\tCat\n",
        ),
        "train/synthetic21_train/soundscapes.tsv": (
            "train/synthetic21_train/soundscapes",
            strong + "0.wav\t0.05\t0.2\tDog\n0.wav\t0.1\t0.3\tDog\n1.wav\t0.1\t0.4\tBlender\n",
        ),
        "validation/validation.tsv": (
            "validation/validation",
            strong + "Yv1_30.000_40.000.wav\t0.0\t0.25\tSpeech\nYv2_30.000_40.000.wav\t\t\t\n",
        ),
        "validation/synthetic21_validation/soundscapes.tsv": (
            "validation/synthetic21_validation/soundscapes",
            strong + "0.wav\t0.3\t0.5\tCat\n",
        ),
        "eval/public.tsv": ("eval/public", strong + "Ye1_30.000_40.000.wav\t0.1\t0.5\tFrying\n"),
    }
    for table, (place, text) in tables.items():
        write(folder / "metadata" / table, text)
        for name in {line.split("\t")[0] for line in text.splitlines()[1:]}:
            record(folder / "audio" / place / name, seed=len(name))
    write(folder / "metadata" / "train" / "unlabel_in_domain.tsv", "filename\nYu1_0.000_10.000.wav\n")
    record(folder / "audio" / "train" / "unlabel_in_domain" / "Yu1_0.000_10.000.wav")
    write(folder / "audio" / "train" / "synthetic21_train" / "soundscapes" / "0.txt", "0.05\t0.2\tDog\n")
    return folder


def audioset(folder):
    """AudioSet's segments for training and evaluation; a video of each is gone."""
    head = [
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        "# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=4",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    train = [
        '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"',
        'YBfyYJ86Ewk, 30.000, 40.000, "/m/09x0r"',
        'gone5678901, 0.000, 10.000, "/m/09x0r"',
    ]
    test = [
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"',
        'Gone5678902, 30.000, 40.000, "/m/09x0r"',
    ]
    write(folder / "balanced_train_segments.csv", "\n".join([*head, *train]) + "\n")
    write(folder / "eval_segments.csv", "\n".join([*head, *test]) + "\n")
    for name in ("balanced_train/Y-0RWZT-miFs", "balanced_train/YBfyYJ86Ewk_30000", "eval/--4gqARaEJE_0.000_10.000"):
        record(folder / "audio" / f"{name}.wav")
    return folder


def audioset_strong(folder):
    """The temporally-strong labels, one of a class beyond the 527."""
    head = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    speech, dog = ["b0RFKhbpFJA_30000\t0.0\t0.2\t/m/09x0r\n", "b0RFKhbpFJA_30000\t0.2\t0.5\t/m/0bt9lr\n"]
    train = speech + speech.replace("0.0\t0.2", "0.1\t0.3") + dog
    write(folder / "audioset_train_strong.tsv", head + train)
    write(folder / "audioset_eval_strong.tsv", head + "s9d-2nhuJCQ_30000\t0.1\t0.4\t/t/dd00138\n")
    write(folder / "mid_to_display_name.tsv", "/m/09x0r\tSpeech\n/t/dd00138\tBrief tone\n")
    for name in ("b0RFKhbpFJA_30000", "s9d-2nhuJCQ_30000_40000"):
        record(folder / "audio" / f"{name}.wav")
    return folder


def label_studio(folder):
    """Label Studio's JSON of five recordings: two with regions, one without any, one skipped, one not annotated yet."""
    names = ["dog.wav", "two dogs.wav", "quiet.wav", "skipped.wav", "later.wav"]
    for seed, name in enumerate(names):
        record(folder / name, seed=seed)

    def region(start, end, label):
        value = {"start": start, "end": end, "channel": 0, "labels": [label]}
        return {"original_length": SECONDS, "value": value, "from_name": "label", "to_name": "audio", "type": "labels"}

    results = [[region(0.1, 0.3, "Dog")], [region(0.0, 0.2, "Dog"), region(0.1, 0.5, "Cat")], [], [], None]
    tasks = []
    for number, (name, result) in enumerate(zip(names, results, strict=True), 1):
        upload = f"1a2b3c4{number}-{name.replace(' ', '_')}"
        annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": name == "skipped.wav"}
        annotations = [] if result is None else [annotation]
        data = {"audio": f"/data/upload/1/{upload}"}
        tasks.append({"id": number, "annotations": annotations, "file_upload": upload, "data": data, "meta": {}})
    write(folder / "project-1-at-2026-05-01-10-00-1a2b3c4d.json", json.dumps(tasks))
    return folder


def audacity(folder):
    """Label tracks beside three recordings, one of them in a folder below; a fourth recording has none."""
    for seed, name in enumerate(["a.wav", "b.wav", "field/c.wav", "without.wav"]):
        record(folder / name, seed=seed)
    write(folder / "a.txt", "0.100000\t0.250000\tDog\n\\\t1000.000000\t4000.000000\n0.200000\t0.400000\tCat\n")
    write(folder / "b.txt", "0,050000\t0,300000\tDog\n")
    write(folder / "field" / "c.txt", "")
    return folder


RAVEN_HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"


def raven(folder):
    """Selection tables of Raven for two recordings, with a row for each view; a third recording has none."""
    for seed, name in enumerate(["a.wav", "b.wav", "without.wav"]):
        record(folder / name, seed=seed)
    row = "1\t{view}\t1\t0.100000000\t0.300000000\t1739.0\t3798.8\tRobin\n"
    both = row.format(view="Waveform 1") + row.format(view="Spectrogram 1")
    other = "2\tSpectrogram 1\t1\t0.250000000\t0.500000000\t100.0\t200.0\tWren\n"
    write(folder / "a.Table.1.selections.txt", RAVEN_HEADER + both + other)
    write(folder / "b.Table.1.selections.txt", RAVEN_HEADER)
    return folder


BIRDNET_HEADER = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\tSpecies Code\t"
    "Confidence\tBegin Path\tFile Offset (s)\n"
)


def birdnet(folder):
    """BirdNET's one table for all recordings, whose times count on from file to file."""
    for seed, name in enumerate(["a.wav", "b.wav"]):
        record(folder / name, seed=seed)
    rows = [
        "1\tSpectrogram 1\t1\t0.0\t0.3\t0\t15000\tEurasian Blackbird\teurbla1\t0.87\tC:\\night\\a.wav\t0.0",
        "2\tSpectrogram 1\t1\t0.7\t0.9\t0\t15000\tCommon Chaffinch\tcomcha\t0.42\tC:\\night\\b.wav\t0.2",
        "3\tSpectrogram 1\t1\t0.9\t1.0\t0\t15000\tnocall\tnocall\t1.0\tC:\\night\\b.wav\t0.4",
    ]
    write(folder / "BirdNET_SelectionTable.txt", BIRDNET_HEADER + "\n".join(rows) + "\n")
    return folder


KALEIDOSCOPE_HEADER = (
    "INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,Fmin,Fmean,Fmax,DATE,TIME,HOUR,DATE-12,TIME-12,HOUR-12,"
    "TOP1MATCH*,TOP1DIST,TOP2MATCH,TOP2DIST,VOCALIZATIONS,MANUAL ID*\n"
)


def kaleidoscope(folder):
    """The clusters of Kaleidoscope Pro: one corrected by a person, one found in both channels, and a file of noise."""
    for seed, name in enumerate(["north/a.wav", "south/a.wav", "south/b.wav", "without.wav"]):
        record(folder / name, seed=seed)
    row = "C:\\night,{},{},{},2000.5,4000,6000,2024-05-01,04:10:00,4,2024-04-30,16:10:00,16,{},0.41,Wren,0.9,3,{}\n"
    rows = [
        row.format("north", "a.wav,0", "0.1,0.2", "Wren", "Robin"),
        row.format("south", "a.wav,0", "0.05,0.2", "Wren", ""),
        row.format("south", "a.wav,1", "0.15,0.3", "Wren", ""),
        row.format("south", "b.wav,0", "0,0.5", "Noise", ""),
    ]
    write(folder / "cluster.csv", KALEIDOSCOPE_HEADER + "".join(rows))
    return folder


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
0.5
<exists>
2
"IntervalTier"
"birds"
0
0.5
3
0
0.1
""
0.1
0.3
"Robin"
0.3
0.5
""
"IntervalTier"
"birds"
0
0.5
2
0
0.2
" "
0.2
0.5
"Dog ""Rex"" barks"
"""
"""Praat's short form, with two tiers of one name, which Praat allows."""


def textgrid(folder):
    """TextGrids beside two recordings, one of them with an empty tier; a third recording has none."""
    for seed, name in enumerate(["a.wav", "field/b.wav", "without.wav"]):
        record(folder / name, seed=seed)
    write(folder / "a.TextGrid", TEXTGRID)
    empty = TEXTGRID.partition("2\n")[0] + '1\n"IntervalTier"\n"birds"\n0\n0.5\n1\n0\n0.5\n""\n'
    write(folder / "field" / "b.TextGrid", empty)
    return folder


ALL = {
    "esc50": esc50,
    "urbansound8k": urbansound8k,
    "speech-commands": speech_commands,
    "fsd50k": fsd50k,
    "audioset": audioset,
    "desed": desed,
    "label-studio": label_studio,
    "kaleidoscope": kaleidoscope,
    "raven": raven,
    "audacity": audacity,
    "textgrid": textgrid,
}
"""By the names that --dataset takes."""
