"""Recordings of sound and signals: in folders by class, in tables of paths, with annotations."""

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError, UnmatchedError
from distilfleet.data import own, proxy, recordings, sources
from distilfleet.data.naming import Naming
from distilfleet.data.raw import Sampling
from distilfleet.data.reading import Reading

soundfile = pytest.importorskip("soundfile")
edfio = pytest.importorskip("edfio")


def sound(path, hz=440, rate_hz=4000, seconds=0.25, channels=1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    wave = 0.5 * np.sin(2 * np.pi * hz * times)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate_hz, **options)


@pytest.fixture
def tones(tmp_path):
    for n in range(12):
        sound(tmp_path / "tones" / ("low" if n % 2 else "high") / f"{n}.wav", 300 + 900 * (n % 2))
    return tmp_path / "tones"


def test_a_folder_of_sound_by_class(tones):
    source = sources.load(str(tones))
    assert source.classes == ("high", "low")
    assert source.train.shape == (1, 1000)
    assert source.sampling == Sampling(rate_hz=4000)
    assert source.is_sound
    assert "sound of 1000 steps (0.25 s at 4000 Hz)" in source.notes


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".wav", {"subtype": "PCM_24"}),
        (".wav", {"subtype": "FLOAT"}),
        (".wav", {"subtype": "PCM_16", "format": "WAVEX"}),
        (".flac", {}),
        (".ogg", {}),
    ],
)
def test_sound_of_many_formats_is_read_as_numbers_from_minus_1_to_1(tmp_path, ending, options):
    sound(tmp_path / "t" / "a" / f"1{ending}", **options)
    raw = recordings.read(tmp_path / "t", None, None)
    assert raw.train.inputs.dtype == np.float32
    assert raw.train.inputs.max() == pytest.approx(0.5, abs=0.02)


def test_sound_is_mixed_resampled_and_padded_and_that_is_said(tones):
    sound(tones / "low" / "stereo.wav", 1200, channels=2)
    sound(tones / "low" / "fast.wav", 1200, rate_hz=16_000)
    sound(tones / "low" / "short.wav", 1200, seconds=0.1)
    sound(tones / "low" / "long.wav", 1200, seconds=0.5)
    raw = sources.read(str(tones))
    assert raw.train.inputs.shape == (16, 1000, 1)
    for words in (
        "1 of 16 recordings: 2 channels mixed to one, their mean",
        "1 of 16 recordings resampled to 4000 Hz (from 16000)",
        "1 padded with silence and 1 cut at the end",
    ):
        assert any(words in note for note in raw.notes)
    again = sources.read(str(tones), reading=Reading(rate_hz=2000.0))
    assert again.train.inputs.shape == (16, 500, 1)
    spectrum = np.abs(np.fft.rfft(raw.train.inputs[:, :, 0]))
    heard = dict(zip(raw.train.labels.tolist(), spectrum.argmax(axis=1).tolist(), strict=True))
    assert heard == {"high": 75, "low": 300}


def test_resampling_keeps_a_tone_where_it_is(tmp_path):
    sound(tmp_path / "t" / "a" / "1.wav", 440, rate_hz=44_100, seconds=1)
    raw = recordings.read(tmp_path / "t", None, None, Reading(rate_hz=16_000.0))
    assert raw.train.inputs.shape == (1, 16_000, 1)
    assert np.abs(np.fft.rfft(raw.train.inputs[0, :, 0])).argmax() == 440


def test_sound_is_cut_into_windows_of_its_class(tones):
    raw = sources.read(str(tones), reading=Reading(window="0.1s", hop="0.05s"))
    assert raw.sampling == Sampling(rate_hz=4000, window=400, hop=200)
    assert raw.train.inputs.shape == (12 * 4, 400, 1)
    assert raw.train.labels.tolist() == ["high"] * 24 + ["low"] * 24


def test_a_folder_with_a_test_part(tones, tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            sound(tmp_path / "both" / part / name / "1.wav")
            sound(tmp_path / "both" / part / name / "2.wav")
    source = sources.load(str(tmp_path / "both"))
    assert (len(source.train), len(source.test)) == (4, 4)


def test_a_test_folder_is_heard_as_the_training_data_are(tones, tmp_path):
    for name in ("high", "low"):
        sound(tmp_path / "test" / name / "1.wav", rate_hz=16_000, seconds=0.5)
    source = sources.load(str(tones), test=str(tmp_path / "test"))
    assert (len(source.train), source.test.inputs.shape) == (12, (2, 1, 1000))
    assert any("2 cut at the end" in note for note in source.notes)
    cut = sources.load(str(tones), test=str(tmp_path / "test"), reading=Reading(window="0.1s"))
    assert cut.test.inputs.shape == (2 * 5, 1, 400)


# --- a table of paths -----------------------------------------------------------------------------


def listed(tones, *more, names="path,kind,owner"):
    rows = [
        f"{file.relative_to(tones)},{file.parent.name},o{n % 3}"
        for n, file in enumerate(sorted(tones.rglob("*.wav")))
    ]
    (tones / "list.csv").write_text("\n".join([names, *rows, *more, ""]))
    return tones / "list.csv"


def test_a_table_says_whose_recordings_are_and_what(tones):
    source = sources.load(str(listed(tones)), label="kind", group="owner")
    assert source.classes == ("high", "low")
    assert set(source.groups.tolist()) == {"o0", "o1", "o2"}
    assert "recordings from column 'path'" in source.notes


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../outside.wav,low,o1", "line 14 names '../outside.wav', which is not in the table's"),
        ("/etc/passwd,low,o1", "line 14 names '/etc/passwd', which is not in the table's folder"),
        ("low/none.wav,low,o1", "which is no file here"),
        ("list.csv,low,o1", "which is no recording"),
        ("low/1.wav,,o1", "line 14 has no label"),
    ],
)
def test_rows_that_name_no_recording_are_refused(tones, row, words):
    sound(tones.parent / "outside.wav")
    with pytest.raises(ConfigError, match=words):
        sources.load(str(listed(tones, row)), label="kind", group="owner")


def test_a_link_out_of_the_tables_folder_is_refused(tones):
    sound(tones.parent / "outside.wav")
    (tones / "in.wav").symlink_to(tones.parent / "outside.wav")
    with pytest.raises(ConfigError, match="which is not in the table's folder"):
        sources.load(str(listed(tones, "in.wav,low,o1")), label="kind")


def test_a_table_of_paths_without_labels_names_the_flag(tones):
    with pytest.raises(ConfigError, match=r"no column 'label'.*name it with --label"):
        sources.load(str(listed(tones)))


# --- what cannot be read --------------------------------------------------------------------------


def test_bad_recordings_are_refused_by_name(tones):
    (tones / "low" / "bad.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(ConfigError, match=r"bad.wav: not a readable recording"):
        sources.read(str(tones))
    soundfile.write(tones / "low" / "bad.wav", np.zeros(0), 4000)
    with pytest.raises(ConfigError, match=r"bad.wav: a recording of 0 steps"):
        sources.read(str(tones))


def test_sound_that_lies_about_has_no_class(tones):
    sound(tones / "loose.wav")
    with pytest.raises(ConfigError, match="nothing says their classes"):
        sources.read(str(tones))


def test_sound_and_signals_do_not_mix(tones):
    edf(tones / "low" / "1.edf")
    with pytest.raises(ConfigError, match="holds sound and signals"):
        sources.read(str(tones))


def test_a_missing_library_is_named_with_its_line(tones, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ConfigError, match=r"takes soundfile.*pip install 'distilfleet\[audio\]'"):
        sources.read(str(tones))


# --- EDF ------------------------------------------------------------------------------------------


def edf(path, seconds=60, rate_hz=20, notes=(), names=("EEG Fpz-Cz", "EOG"), slow=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal(
            rng.normal(size=seconds * rate_hz),
            rate_hz,
            label=name,
            physical_dimension="uV",
            physical_range=(-10, 10),
        )
        for name in names
    ]
    if slow:
        signals.append(edfio.EdfSignal(np.arange(float(seconds)), 1, label="Temp"))
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(*note) for note in notes]).write(path)
    return path


STAGES = [(0, 20, "wake"), (20, 20, "sleep"), (40, 15, "wake")]


def test_annotations_of_a_recording_are_the_classes_of_its_windows(tmp_path):
    path = edf(tmp_path / "night.edf", notes=STAGES, slow=True)
    raw = sources.read(str(path), reading=Reading(window="5s"))
    assert raw.train.labels.tolist() == ["wake"] * 4 + ["sleep"] * 4 + ["wake"] * 3
    assert raw.train.inputs.shape == (11, 100, 2)
    assert [(one.name, one.unit) for one in raw.columns] == [("EEG Fpz-Cz", "uV"), ("EOG", "uV")]
    assert any("signals of another rate left out: Temp" in note for note in raw.notes)
    assert any("1 windows left out: none of their steps has a label" in note for note in raw.notes)


def test_each_of_several_annotated_recordings_is_an_owner(tmp_path):
    for name in ("anna", "ben"):
        edf(tmp_path / "nights" / f"{name}.edf", notes=STAGES)
    source = sources.load(str(tmp_path / "nights"), reading=Reading(window="5s"))
    assert set(source.groups.tolist()) == {"anna", "ben"}
    assert not source.is_sound


def test_signals_by_class_need_one_length_or_a_window(tmp_path):
    for n, seconds in enumerate((60, 60, 30, 60)):
        edf(tmp_path / "e" / "ab"[n % 2] / f"{n}.edf", seconds)
    with pytest.raises(ConfigError, match="recordings of 600 to 1200 steps; expected one length"):
        sources.read(str(tmp_path / "e"))
    assert len(sources.read(str(tmp_path / "e"), reading=Reading(window="10s")).train.inputs) == 21


def test_a_recording_with_gaps_is_refused(tmp_path):
    path = edf(tmp_path / "gap.edf", notes=STAGES)
    content = path.read_bytes()
    at = content.rindex(b"+59\x14\x14")
    path.write_bytes(content[:at] + b"+99" + content[at + 3 :])
    with pytest.raises(ConfigError, match="its records do not follow each other"):
        sources.read(str(path), reading=Reading(window="5s"))


def test_signals_of_unlike_rates_or_channels_are_refused(tmp_path):
    edf(tmp_path / "e" / "a" / "1.edf")
    edf(tmp_path / "e" / "b" / "2.edf", rate_hz=10)
    with pytest.raises(ConfigError, match=r"2.edf: 10 steps a second, where 1.edf has 20"):
        sources.read(str(tmp_path / "e"), reading=Reading(window="5s"))
    edf(tmp_path / "e" / "b" / "2.edf", names=("EMG",))
    with pytest.raises(ConfigError, match="no channel that all recordings have"):
        sources.read(str(tmp_path / "e"), reading=Reading(window="5s"))


# --- devices and the proxy ------------------------------------------------------------------------


def test_a_device_hears_at_the_runs_rate_and_length(tones, tmp_path):
    run = sources.load(str(tones))
    for n in range(3):
        sound(tmp_path / "mine" / "HIGH" / f"{n}.wav", 300, rate_hz=8000, seconds=0.4)
    mine = own.read(str(tmp_path / "mine"), Naming(classes={"HIGH": "high"}))
    assert len(mine) == 3
    mapped = mine.mapped(run.spec(None))
    assert mapped.data.inputs.shape == (3, 1, 1000)
    assert mapped.data.labels.tolist() == [0, 0, 0]
    assert any("resampled to 4000 Hz (from 8000)" in note for note in mapped.notes)
    with pytest.raises(UnmatchedError, match="unknown to the run"):
        own.read(str(tmp_path / "mine"), Naming()).mapped(run.spec(None))


def test_a_device_finds_the_runs_channels_by_name_or_declines(tmp_path):
    run = sources.load(
        str(edf(tmp_path / "run.edf", notes=STAGES)), reading=Reading(window="5s", hop="1s")
    )
    edf(tmp_path / "mine.edf", notes=STAGES, names=("eog", "EMG", "Fpz"))
    mine = own.read(str(tmp_path / "mine.edf"), Naming(columns={"Fpz": "EEG Fpz-Cz"}))
    assert mine.mapped(run.spec(None)).data.inputs.shape[1:] == (2, 100)
    with pytest.raises(UnmatchedError, match="no channel EEG Fpz-Cz; it has eog, EMG, Fpz"):
        own.read(str(tmp_path / "mine.edf"), Naming()).mapped(run.spec(None))
    edf(tmp_path / "slow.edf", notes=STAGES, rate_hz=10)
    with pytest.raises(UnmatchedError, match="10 steps a second, where the run has 20"):
        own.read(str(tmp_path / "slow.edf"), Naming()).mapped(run.spec(None))


def test_unlabelled_sound_is_a_proxy(tones, tmp_path):
    run = sources.load(str(tones))
    sound(tmp_path / "any" / "1.wav", rate_hz=16_000)
    sound(tmp_path / "any" / "deep" / "2.flac", seconds=0.5)
    assert proxy.from_path(str(tmp_path / "any"), run).inputs.shape == (2, 1, 1000)
    edf(tmp_path / "1.edf")
    with pytest.raises(ConfigError, match="recordings are signals, where sound is expected"):
        proxy.from_path(str(tmp_path / "1.edf"), run)


def test_pictures_with_a_sound_beside_them_stay_pictures(tmp_path):
    from PIL import Image

    for n in range(4):
        folder = tmp_path / "p" / "ab"[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), n, np.uint8)).save(folder / f"{n}.png")
    sound(tmp_path / "p" / "a" / "1.wav")
    assert sources.read(str(tmp_path / "p")).train.inputs.shape == (4, 4, 4)
