"""Read recordings on disk, block by block."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.dsp.channels import Channel, Downmix, check_channel
from htsat_edge.runtime.dsp.formats import ffmpeg, mpeg, ogg, pipe
from htsat_edge.runtime.dsp.formats.opening import Reader, SoundFileReader, mend, open_reader

SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".w64"),
    *(".aifc", ".au", ".m4a", ".aac", ".wma", ".amr", ".wv", ".spx", ".mp4", ".mkv", ".webm", ".3gp"),
}
"""Of the names of recordings in a folder."""
MP3_PADDING = 4 * 1152
"""Samples that encoders put around a recording, and decoders take off or leave."""
UNKNOWN_SAMPLES = 1 << 62
"""A length that libsndfile does not know."""
LOWEST_HZ, HIGHEST_HZ = 1000, 1_000_000
"""Sample rates beyond these are a header's error: at 1 Hz a minute of audio would last for weeks."""
LOUDEST = 32.0
"""Full scale is 1, and floats may pass it; 30 dB more is no sound."""
FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Of integers that some programs write as floats."""
MOST_VALUES = 1 << 22
"""Read at a time, of all channels together."""
LATE_S = 1.0
"""A container's length is that of its longest track, and roughly."""
logger = logging.getLogger(__name__)


class AudioFile:
    """A recording on disk: wav, flac, ogg or mp3; with ffmpeg installed, anything that it decodes."""

    def __init__(self, path: Path, scale: float | None = None) -> None:
        """Look at a recording.

        Parameters
        ----------
        path
            A file; or a pipe, or `-` for standard input, which are read to their end first. No file stays open.
        scale
            Full scale of a file of floats, as was found before; None: all of it is read to find that.

        Raises
        ------
        HtsatEdgeError
            Nothing of it can be read, or only a part where more is there. One that is damaged or breaks off is read up
            to there.
        """
        self.path = path
        self._name = "stdin" if path == pipe.STDIN else visible(str(path))
        self._padding = 0
        """Samples that may be missing at the end."""
        self._damaged = False
        """Whether it is known that not all of it can be read."""
        with self._reported():
            self._kept = pipe.keep(path)
            self._content = path
            if self._kept is not None:
                weakref.finalize(self, self._kept.close)
                self._content = Path(self._kept.name)
            if self._content.stat().st_size == 0:
                raise HtsatEdgeError("is empty")
            # libsndfile would read what there is, and warn on the terminal at most.
            mp3 = mpeg.measure(self._content)
            self._damaged = _is_damaged_ogg(ogg.measure(self._content)) or _is_damaged_mp3(mp3)
            self._mended = mend(self._content) if mp3 is None else mpeg.mend(self._content, mp3)
            with closing(open_reader(self._content, self._mended)) as reader:
                self.sample_rate, self.channels = reader.sample_rate, reader.channels
                if not LOWEST_HZ <= self.sample_rate <= HIGHEST_HZ:
                    raise HtsatEdgeError(
                        f"has a sample rate of {self.sample_rate} Hz, want {LOWEST_HZ} to {HIGHEST_HZ}; write it anew "
                        "with the rate that it was recorded at"
                    )
                self.samples = self._measure(reader, mp3)
                """Samples of one channel: to the sample, but roughly where ffmpeg decodes."""
                self.scale = scale or (self._find_scale(reader) if reader.is_float else 1.0)
                """Full scale: 1, or that of integers which were written as floats."""
                self.is_sought_exactly = isinstance(reader, SoundFileReader) and reader.is_sought_exactly
                """Whether reading may begin at any sample at once, and to the sample."""
        self.missing = self._log_mended()
        """What the header promises and is not there, as a sentence; what is there is read all the same."""

    def _log_mended(self) -> str:
        """Log what is wrong with the head of the file; return it where it promises more than is there."""
        if self._mended is None or self._mended.note is None:
            return ""
        level = logging.INFO if self._kept is not None and self._mended.is_open else logging.WARNING
        logger.log(level, "%s: %s", self._name, self._mended.note)
        return self._mended.note if self._mended.is_cut else ""

    def blocks(self, length: int, channel: Channel = "mix") -> Iterator[FloatArray]:
        """Yield one channel of the recording, or the mix of all, in blocks (S,) of about `length` samples.

        Raise an HtsatEdgeError at a sample that is no number or beyond any sound, where the file ends too soon, and
        where it has no such channel.
        """
        for (samples,) in self.split(length, [channel]):
            yield samples

    def split(
        self,
        length: int,
        channels: Sequence[Channel],
        first: int = 0,
        seen: Callable[[FloatArray], object] = lambda _: None,
    ) -> Iterator[list[FloatArray]]:
        """Yield several channels, or mixes, side by side, from the sample `first` on; otherwise do what `blocks` does.

        Mixes depend on what was heard before. `seen` gets all channels (S, channels) before each block.
        """
        with self._reported():
            for channel in channels:
                check_channel(channel, self.channels)
        mixes = [Downmix(self.channels, self.sample_rate, channel, self._name, wait=True) for channel in channels]
        failure: HtsatEdgeError | None = None
        try:
            for frames in self.frames(length, first):
                seen(frames)
                yield [mix.push(frames) for mix in mixes]
        except HtsatEdgeError as error:  # all that is there before it is heard first
            failure = error
        held = [mix.flush() for mix in mixes]
        if any(map(len, held)):
            yield held
        if failure is not None:
            raise failure

    def frames(self, length: int, first: int = 0) -> Iterator[FloatArray]:
        """Yield the recording from the sample `first` on in blocks (S, channels) of at most `length` samples.

        The samples are those that reading all of it gives. Raise as `blocks` does.
        """
        done, length = 0, max(1, min(length, MOST_VALUES // self.channels))
        with self._reported(), closing(open_reader(self._content, self._mended)) as reader:
            if first and self.is_sought_exactly and isinstance(reader, SoundFileReader):
                done = self._seek(reader, min(first, self.samples))
            while True:
                try:
                    frames = reader.read(length)
                except soundfile.LibsndfileError:
                    raise self._truncated(done) from None
                if len(frames) == 0:
                    break
                if self.scale != 1.0:
                    frames = frames / np.float32(self.scale)
                self._check_samples(frames, done)
                early, done = max(first - done, 0), done + len(frames)
                if early < len(frames):
                    yield frames[early:]
            self._check_end(reader, done)

    def _seek(self, reader: SoundFileReader, first: int) -> int:
        """Go to a sample, or a little before it; return where that is."""
        try:
            return reader.seek(first)
        except soundfile.LibsndfileError:
            raise self._truncated(first) from None

    def _measure(self, reader: Reader, mp3: mpeg.Length | None) -> int:
        """Return the samples of a channel; raise where the file holds less, or more, than libsndfile would read."""
        if isinstance(reader, ffmpeg.FfmpegReader):
            measured = reader.measure()
            return ffmpeg.count(self._content) if measured is None else measured
        assert isinstance(reader, SoundFileReader)
        samples: int = reader.file.frames
        if samples == 0:
            raise HtsatEdgeError("has no samples")
        if samples >= UNKNOWN_SAMPLES:
            raise HtsatEdgeError("does not say how long it is, as if written to a pipe; convert it to wav")
        if mp3 is not None:
            _refuse_part(mp3.found, samples)
            # An estimate from the first bitrate may be too long as well: that does no harm.
            samples = min(samples, mp3.found)
        if reader.file.format == "MP3":
            self._padding = MP3_PADDING
        elif reader.file.subtype.startswith("MPEG_LAYER"):
            self._padding = 2 * MP3_PADDING  # the header of a WAV counts what the decoder takes off as well
        return samples

    def _find_scale(self, reader: Reader) -> float:
        """Return what full scale is in a file of floats: that of integers where most samples that are not 0 pass 1.

        All of the file is read for that, so that the beginning is heard in the same scale as the end.
        """
        loudest, above, below, whole = 0.0, 0, 0, True
        while len(frames := reader.read(max(1, MOST_VALUES // self.channels))):
            levels = np.abs(frames)
            levels = levels[np.isfinite(levels)]
            loudest = max(loudest, float(levels.max(initial=0.0)))
            above += int(np.count_nonzero(levels >= 1))
            below += int(np.count_nonzero((levels > 0) & (levels < 1)))
            whole = whole and bool((levels == np.floor(levels)).all())
        scale = next((scale for scale in FULL_SCALES if loudest <= scale), None)
        if scale is None or above <= below or loudest <= (1 if whole else LOUDEST):
            return 1.0
        logger.warning(
            "%s: holds samples up to %.0f, integers written as floats; they are divided by %.0f",
            *(self._name, loudest, scale),
        )
        return scale

    def _check_samples(self, frames: FloatArray, done: int) -> None:
        if not np.abs(frames).max() <= LOUDEST:  # nor where it is no number
            sound = (np.abs(frames) <= LOUDEST).all(axis=1)
            at = int(sound.argmin())
            value, at_s = frames[at, np.abs(frames[at]).argmax()], (done + at) / self.sample_rate
            raise HtsatEdgeError(
                f"holds a sample that is no sound ({value:g}) at {at_s:.3f} s; write it anew, in a scale of -1 to 1"
            )

    def _check_end(self, reader: Reader, done: int) -> None:
        """Raise where the recording ended too soon, and log what was wrong with it."""
        complaint = reader.finish()
        if not isinstance(reader, ffmpeg.FfmpegReader):
            if self._damaged or done < self.samples - self._padding:
                raise self._truncated(done)
            return
        if done == 0:
            raise HtsatEdgeError("has no samples")
        if complaint is not None:
            if done < self.samples - LATE_S * self.sample_rate:
                raise self._truncated(done)
            logger.warning("%s: ffmpeg reports: %s", self._name, visible(complaint))

    def _truncated(self, done: int) -> HtsatEdgeError:
        at_s = done / self.sample_rate
        return HtsatEdgeError(
            f"is truncated or damaged after {at_s:.3f} s; copy it again, or convert what is left of it"
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Have errors name the recording."""
        try:
            yield
        except HtsatEdgeError as error:
            raise HtsatEdgeError(f"{self._name}: {error}") from None
        except FileNotFoundError:
            raise HtsatEdgeError(f"{self._name}: no such file") from None
        except OSError as error:
            raise HtsatEdgeError(f"{self._name}: cannot be read: {error.strerror}") from None


def _is_damaged_ogg(shape: ogg.Shape | None) -> bool:
    """Return whether the end is missing; raise where libsndfile would stop before it."""
    if shape is not None and shape.streams > 1:
        streams = f"{shape.streams} Ogg streams one after the other"
        raise HtsatEdgeError(f"is {streams}, of which only the first can be read; split it")
    return shape is not None and not shape.whole


def _is_damaged_mp3(length: mpeg.Length | None) -> bool:
    """Return whether frames are missing; raise where libsndfile would stop before the end."""
    if length is None:
        return False
    if length.declared is not None:
        _refuse_part(length.found, length.declared)
    return not length.whole or (length.declared is not None and length.found < length.declared - MP3_PADDING)


def _refuse_part(found: int, declared: int) -> None:
    """Raise where libsndfile would stop before the end."""
    if found > declared + MP3_PADDING:
        percent = 100 * declared / found
        raise HtsatEdgeError(f"is an MP3 of which only {percent:.0f} % would be read; convert it to wav or flac")
