"""Files of other programs, each made by the library that is kept for it.

Parquet, Arrow, `datasets`, WFDB and .ts take libraries of more than 30 MB, which the suite goes
without: `make test-formats` runs those too.
"""

import io

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError, UnmatchedError
from distilfleet.data import own, proxy, sources
from distilfleet.data.naming import Naming
from distilfleet.data.raw import Sampling
from distilfleet.data.reading import Reading

N = 24
LABELS = np.arange(N) % 3
SERIES = np.random.default_rng(0).normal(size=(N, 10, 2)) + LABELS[:, None, None]
A = np.arange(float(N))
B = np.sin(A)
OWNERS = [f"o{n % 2}" for n in range(N)]
KINDS = [("idle", "run", "stop")[n] for n in LABELS]


def read_as_series(path, **names):
    source = sources.load(str(path), **names)
    assert source.train.shape == (2, 10)
    assert len(source.train) + len(source.test) == N
    assert len(source.classes) == 3
    return source


def read_as_table(path, missing="refuse"):
    raw = sources.read(str(path), label="kind", group="owner", reading=Reading(missing=missing))
    assert [column.name for column in raw.columns] == ["a", "b"]
    assert raw.train.labels.tolist() == KINDS[: len(raw.train.labels)]
    assert set(raw.train.groups.tolist()) == {"o0", "o1"}
    return raw


# --- HDF5 -----------------------------------------------------------------------------------------


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def test_hdf5_of_series_in_groups(tmp_path, h5py):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/x"], file["train/y"], file["train/group"] = SERIES, LABELS, OWNERS
        file["meta/made"] = 2026
    source = read_as_series(tmp_path / "a.h5")
    assert set(source.groups.tolist()) == {"o0", "o1"}
    assert any("neither numbers nor text, so not used: made" in note for note in source.notes)


def test_hdf5_of_columns_is_a_table(tmp_path, h5py):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["a"], file["b"], file["kind"], file["owner"] = A, B, KINDS, OWNERS
    assert np.array_equal(read_as_table(tmp_path / "a.hdf5").train.inputs, np.stack([A, B], 1))


def test_hdf5_of_steps_is_cut(tmp_path, h5py):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = np.zeros((60, 2)), np.repeat(KINDS[:3], 20).tolist()
    raw = sources.read(str(tmp_path / "a.h5"), reading=Reading(window="1s", rate_hz=10.0))
    assert raw.train.inputs.shape == (6, 10, 2)


def test_hdf5_that_is_damaged_or_holds_compounds_is_refused(tmp_path, h5py):
    (tmp_path / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\nrest")
    with pytest.raises(ConfigError, match=r"bad.h5: not readable as HDF5"):
        sources.read(str(tmp_path / "bad.h5"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = np.zeros(3, dtype=[("a", float), ("b", int)])
    with pytest.raises(ConfigError, match=r"holds no array .t are neither numbers nor text"):
        sources.read(str(tmp_path / "a.h5"))


# --- NetCDF ---------------------------------------------------------------------------------------


@pytest.fixture
def netcdf(tmp_path):
    library = pytest.importorskip("netCDF4")
    with library.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("time", N)
        for name, values in {"a": A, "b": B}.items():
            packed = file.createVariable(name, "i2", ("time",), fill_value=-32767)
            packed.scale_factor, packed.add_offset = 0.01, 5.0
            packed[:] = np.ma.array(values, mask=(np.arange(N) == 4) & (name == "b"))
        for name, words in {"kind": KINDS, "owner": OWNERS}.items():
            file.createVariable(name, str, ("time",))[:] = np.array(words, dtype=object)
    return tmp_path / "a.nc"


def test_netcdf_is_unpacked_and_what_is_masked_is_missing(netcdf):
    with pytest.raises(ConfigError, match=r"row 4 \(counted from 0\), column 'b' holds 'nan'"):
        sources.read(str(netcdf), label="kind", group="owner")
    raw = sources.read(
        str(netcdf), label="kind", reading=Reading(missing="drop", leave_out=("owner",))
    )
    assert len(raw.train.inputs) == N - 1
    assert np.allclose(raw.train.inputs[:, 0], np.delete(A, 4), atol=0.01)
    assert raw.train.inputs.min() >= -1.01


# --- MATLAB ---------------------------------------------------------------------------------------


def test_matlab_of_series_with_labels_in_a_row(tmp_path):
    io_of_scipy = pytest.importorskip("scipy.io")
    held = {"x": SERIES, "y": LABELS, "facts": {"a": 1}}
    io_of_scipy.savemat(tmp_path / "a.mat", held)
    source = read_as_series(tmp_path / "a.mat")
    assert any("not used: facts" in note for note in source.notes)


def test_new_matlab_is_hdf5_with_its_axes_reversed(tmp_path, h5py):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["x"], file["y"] = SERIES.T, LABELS[None].T
    content = bytearray((tmp_path / "a.mat").read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    (tmp_path / "a.mat").write_bytes(content)
    source = read_as_series(tmp_path / "a.mat")
    first = source.train.inputs[0].astype(float) / source.scaling.factor + source.scaling.offset
    assert np.abs(first.T - SERIES).reshape(N, -1).max(axis=1).min() < 1e-5


# --- ARFF -----------------------------------------------------------------------------------------


def test_arff_is_a_table(tmp_path):
    rows = [f"{a},{b:.6f},{k},{o}" for a, b, k, o in zip(A, B, KINDS, OWNERS, strict=True)]
    rows[5] = rows[5].replace(f"{B[5]:.6f}", "?")
    head = ["@relation r", "@attribute a numeric", "@attribute b real"]
    head += ["@attribute kind {idle,run,stop}", "@attribute owner {o0,o1}", "@data"]
    (tmp_path / "a.arff").write_text("\n".join([*head, *rows, ""]))
    raw = sources.read(
        str(tmp_path / "a.arff"), label="kind", group="owner", reading=Reading(missing="drop")
    )
    assert len(raw.train.inputs) == N - 1
    (tmp_path / "a.arff").write_text("@relation r\n@attribute a string\n@data\nx\n")
    with pytest.raises(ConfigError, match="has an attribute of text or dates"):
        sources.read(str(tmp_path / "a.arff"))


def test_arff_of_series_with_its_test_part(tmp_path):
    steps = "\n".join(f"@attribute t{n} numeric" for n in range(10))
    head = (
        f"@relation r\n@attribute s relational\n{steps}\n@end s\n@attribute kind {{a,b}}\n@data\n"
    )
    for part, count in (("TRAIN", 8), ("TEST", 4)):
        cases = [
            "'"
            + "\\n".join(",".join(f"{v:.3f}" for v in SERIES[n, :, c]) for c in (0, 1))
            + f"',{'ab'[n % 2]}"
            for n in range(count)
        ]
        (tmp_path / f"s_{part}.arff").write_text(head + "\n".join(cases) + "\n")
    source = sources.load(str(tmp_path / "s_TRAIN.arff"), label="kind")
    assert (len(source.train), len(source.test)) == (8, 4)
    assert source.train.shape == (2, 10)
    assert "test part from s_TEST.arff" in source.notes


# --- InfluxDB -------------------------------------------------------------------------------------


def test_influxdbs_annotated_csv_is_called_by_its_name(tmp_path):
    (tmp_path / "a.csv").write_text(
        "#group,false,false,true\n#datatype,string,long,double\n#default,_result,,\n"
        ",result,table,_value\n,,0,1.5\n"
    )
    with pytest.raises(
        ConfigError, match=r"InfluxDB's annotated CSV.*annotations off, and pivoted"
    ):
        sources.read(str(tmp_path / "a.csv"), label="_value")


# --- devices and the proxy ------------------------------------------------------------------------


def test_a_device_reads_its_own_hdf5_by_the_names_of_columns(tmp_path, h5py):
    rows = [f"{a},{b:.6f},{k}" for a, b, k in zip(A, B, KINDS, strict=True)]
    (tmp_path / "run.csv").write_text("\n".join(["a,b,kind", *rows, ""]))
    run = sources.load(str(tmp_path / "run.csv"), label="kind")
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["B"], file["A"], file["kind"] = B, A, KINDS
    mapped = own.read(str(tmp_path / "own.h5"), Naming()).mapped(run.spec("kind"))
    assert mapped.data.labels.tolist() == LABELS.tolist()
    again = own.read(str(tmp_path / "run.csv"), Naming()).mapped(run.spec("kind"))
    assert np.allclose(mapped.data.inputs, again.data.inputs, atol=1e-5)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["a"], file["kind"] = A, KINDS
    with pytest.raises(UnmatchedError, match="missing column 'b'"):
        own.read(str(tmp_path / "own.h5"), Naming()).mapped(run.spec("kind"))
    with h5py.File(tmp_path / "proxy.h5", "w") as file:
        file["a"], file["b"] = A, B
    assert proxy.from_path(str(tmp_path / "proxy.h5"), run).inputs.shape == (N, 2)


def test_a_missing_library_is_named_with_its_line(tmp_path, monkeypatch):
    for module, ending, extra in (
        ("h5py", "h5", "arrays"),
        ("netCDF4", "nc", "arrays"),
        ("pyarrow.parquet", "parquet", "tables"),
        ("aeon.datasets", "ts", "ts"),
        ("edfio", "edf", "signals"),
        ("wfdb", "hea", "wfdb"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        path = tmp_path / f"a.{ending}"
        path.write_bytes(b"x")
        wanted = rf"a.{ending}: reading it takes \w+.*pip install 'distilfleet\[{extra}\]'"
        with pytest.raises(ConfigError, match=wanted):
            sources.read(str(path), reading=Reading(window="2"))


# --- larger libraries -----------------------------------------------------------------------------


def test_parquet_and_arrow_are_tables(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, ipc, parquet

    kinds = arrow.array(KINDS).dictionary_encode()
    columns = {"a": A, "b": B, "kind": kinds, "owner": OWNERS}
    table = arrow.table({**columns, "at": arrow.array(range(N), arrow.timestamp("s"))})
    parquet.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    with ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as stream:
        stream.write_table(table)
    for name in ("a.parquet", "a.feather", "a.arrow"):
        raw = read_as_table(tmp_path / name)
        assert np.array_equal(raw.train.inputs, np.stack([A, B], axis=1))
        assert "column 'at' dropped: dates and times are no features" in raw.notes
    cut = sources.read(
        str(tmp_path / "a.parquet"),
        label="kind",
        reading=Reading(window="4s", time="at", leave_out=("owner",)),
    )
    assert cut.sampling == Sampling(rate_hz=1.0, window=4, hop=4)


def test_lists_in_parquet_are_series(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    lists = {name: SERIES[:, :, at].tolist() for at, name in enumerate(("ax", "ay"))}
    parquet.write_table(arrow.table({**lists, "kind": KINDS}), tmp_path / "a.parquet")
    source = read_as_series(tmp_path / "a.parquet", label="kind")
    assert "channels from ax, ay" in source.notes
    uneven = arrow.table({"ax": [[1.0], [1.0, 2.0]], "kind": ["a", "b"]})
    parquet.write_table(uneven, tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="lists in ax are of 1 to 2 numbers"):
        sources.read(str(tmp_path / "b.parquet"), label="kind")


def test_a_folder_of_datasets_with_lists_or_sound(tmp_path):
    datasets = pytest.importorskip("datasets")
    soundfile = pytest.importorskip("soundfile")
    lists = {
        "ax": SERIES[:, :, 0].tolist(),
        "ay": SERIES[:, :, 1].tolist(),
        "label": LABELS.tolist(),
    }
    datasets.Dataset.from_dict(lists).save_to_disk(tmp_path / "lists")
    read_as_series(tmp_path / "lists")
    files = []
    for n in range(8):
        held = io.BytesIO()
        soundfile.write(held, np.sin(np.arange(2000) * (0.1 + n % 2)), 8000, format="WAV")
        files.append({"bytes": held.getvalue(), "path": f"{n}.wav"})
    made = datasets.Dataset.from_dict({"audio": files, "label": [0, 1] * 4})
    made = made.cast_column("audio", datasets.Audio(sampling_rate=8000))
    made = datasets.DatasetDict({"train": made, "test": made})
    made.save_to_disk(tmp_path / "sound")
    source = sources.load(str(tmp_path / "sound"))
    assert (source.train.shape, len(source.test)) == ((1, 2000), 8)
    assert source.is_sound


@pytest.mark.filterwarnings("ignore::Warning")  # what wfdb says of pandas as it writes
def test_wfdb_with_beats_and_rhythms(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    rng = np.random.default_rng(0)
    for name in ("100", "101"):
        signals = rng.normal(size=(2000, 2))
        signals[1500] = np.nan
        wfdb.wrsamp(
            name,
            fs=100,
            units=["mV", "mV"],
            sig_name=["MLII", "V1"],
            p_signal=signals,
            fmt=["16", "16"],
            write_dir=str(tmp_path),
        )
        wfdb.wrann(
            name,
            "atr",
            np.array([0, 50, 900]),
            symbol=["+", "N", "+"],
            aux_note=["(N", "", "(AFIB"],
            write_dir=str(tmp_path),
        )
    reading = Reading(window="1s", missing="drop")
    source = sources.load(str(tmp_path), reading=reading)
    assert source.classes == ("AFIB", "N")
    assert [column.name for column in source.columns] == ["MLII", "V1"]
    assert set(source.groups.tolist()) == {"100", "101"}
    assert "2 of 40 samples left out: no number or no label" in source.notes


def test_ts_files_with_their_test_part(tmp_path):
    pytest.importorskip("aeon")
    from aeon.datasets import save_to_ts_file

    for part in ("TRAIN", "TEST"):
        save_to_ts_file(
            np.moveaxis(SERIES, 1, 2),
            y=np.array(KINDS),
            label_type="classification",
            path=str(tmp_path),
            problem_name=f"s_{part}",
        )
    source = sources.load(str(tmp_path / "s_TRAIN.ts"))
    assert source.train.shape == (2, 10)
    assert source.classes == ("idle", "run", "stop")
    assert (len(source.train), len(source.test)) == (N, N)
