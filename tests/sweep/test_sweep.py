"""Sweeps: grids, tables, provenance, what goes wrong."""

from __future__ import annotations

import enum
import itertools
import json
import math
import subprocess
import sys
import warnings
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import sweep_cells
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import precision as pr
from precision.studies import Study
from precision.sweep import read_store, sweep, to_xarray
from precision.sweep._grid import as_plain, list_cells


def add(x, y=10):
    return {"sum": x + y}


def repr_of(x):
    return repr(x)


# ---- grids ------------------------------------------------------------------------------------------
def test_one_row_a_cell_the_last_parameter_fastest():
    table = sweep(add, {"x": [1, 2], "y": [30, 20, 10]})
    assert list(table.columns) == ["x", "y", "sum", "error"]
    assert table[["x", "y"]].values.tolist() == [list(p) for p in itertools.product([1, 2], [30, 20, 10])]
    assert (table["sum"] == table["x"] + table["y"]).all() and table["error"].isna().all()


def test_columns_stand_in_the_order_of_the_signature_and_defaults_are_columns():
    assert list(sweep(add, {"y": [1], "x": [2]}).columns)[:2] == ["x", "y"]
    assert sweep(add, {"x": [1, 2]})["y"].tolist() == [10, 10]


def test_a_value_alone_and_any_ordered_iterable_is_an_axis():
    ours = (
        [1, 2],
        (1, 2),
        range(1, 3),
        np.array([1, 2]),
        iter([1, 2]),
        pd.Series([1, 2]),
        xr.DataArray([1, 2]),
    )
    for values in ours:
        assert sweep(add, {"x": values})["x"].tolist() == [1, 2]
    assert sweep(add, {"x": np.array(3)})["x"].tolist() == [3]
    assert sweep(add, {"x": 3, "y": 4})["sum"].tolist() == [7]
    assert sweep(lambda name: len(name), {"name": "abc"})["result"].tolist() == [3]


def test_several_grids_are_one_table_with_every_cell_once():
    table = sweep(add, [{"x": [1, 2], "y": 10}, {"x": [2, 3]}, {"x": 1, "y": [5]}])
    assert table[["x", "y"]].values.tolist() == [[1, 10], [2, 10], [3, 10], [1, 5]]


def test_functions_get_objects_and_tables_their_text():
    seen = []

    def cell(fmt, spec, accumulator, rounding, shape):
        seen.append((fmt, spec, accumulator, rounding, shape))
        return 1

    values = (pr.E4M3, pr.MXFP4, pr.HOPPER_FP8.promoted(128), pr.Stochastic(8, seed=1), (3, 4))
    names = ("fmt", "spec", "accumulator", "rounding", "shape")
    table = sweep(cell, {name: [value] for name, value in zip(names, values, strict=True)})
    assert seen == [values]
    texts = ["e4m3", "MXFP4", "HOPPER_FP8.promoted(128)", "Stochastic(bits=8, seed=1)", "(3, 4)"]
    assert table.loc[0, list(names)].tolist() == texts


class Colour(enum.Enum):
    RED = 1

    def __str__(self):
        return "red"


@dataclass(frozen=True)
class Point:
    x: object


class Shy(int):
    def __repr__(self):
        return "shy"


class Unsayable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value, shown",
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (ml_dtypes.bfloat16(0.5), 0.5),
        (np.dtype("float32"), "float32"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3fn"),
        (Colour.RED, "red"),
        (Point(1), "Point(x=1)"),
        (pr.Rounding.TO_ODD, "TO_ODD"),
        (None, None),
        ((1, "a", pr.E4M3), "(1, 'a', e4m3)"),
        (2**70, 2**70),
        (Shy(3), 3),
    ],
)
def test_plain_values(value, shown):
    found = as_plain(value)
    assert found == shown and type(found) is type(shown)


def test_equal_values_of_other_types_or_signs_are_other_cells():
    values = [1, 1.0, True, "1", 0.0, -0.0, 0, False]
    assert sweep(repr_of, {"x": values})["result"].tolist() == list(map(repr, values))
    assert sweep(repr_of, [{"x": value} for value in values])["result"].tolist() == list(map(repr, values))


@pytest.mark.parametrize(
    "value, message",
    [
        (Point(object()), "another in every process"),
        (Point(np.zeros(2)), "holds an array"),
        (("\ud800",), "cannot be written"),
        ((10**5000,), "cannot be written"),
        (np.datetime64(1, "ns"), "must be a number"),
    ],
)
def test_what_text_does_not_say_whole_is_refused(value, message):
    with pytest.raises(TypeError, match=rf"grid\['x'\].*{message}"):
        sweep(add, {"x": [value]})


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, 1j, np.zeros(2), b"a", len, Point])
def test_what_has_no_text_is_refused(value):
    with pytest.raises(TypeError, match="a value must be a number"):
        as_plain(value)


VALUES = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.booleans(), st.none())


@given(st.lists(VALUES, min_size=1, max_size=6, unique_by=lambda v: (type(v), v)), st.permutations(range(6)))
def test_keys_tell_cells_apart_and_do_not_depend_on_order(values, order):
    def cells(values):
        return list_cells(lambda a, b: 0, {"a": values, "b": [0, 1]}, reads={}, max_cells=100)

    keys = {cell.key: (type(cell.shown["a"]), cell.shown["a"], cell.shown["b"]) for cell in cells(values)}
    assert len(keys) == 2 * len(values)
    moved = cells([values[i] for i in order if i < len(values)])
    assert {cell.key: (type(cell.shown["a"]), cell.shown["a"], cell.shown["b"]) for cell in moved} == keys
    assert set(list_cells(lambda b, a: 0, {"b": [1, 0], "a": values}, reads={}, max_cells=100)[0].shown) == {
        "a",
        "b",
    }


@pytest.mark.parametrize(
    "grid, kind, message",
    [
        ({}, ValueError, "grid is empty"),
        ([], ValueError, "grid is empty"),
        ([{"x": 1}, {}], ValueError, "grid is empty"),
        ({"x": []}, ValueError, r"grid\['x'\] is empty"),
        ({"y": [1]}, ValueError, "needs x"),
        ({"x": 1, "z": 2}, ValueError, "no parameter 'z'; it has: x, y"),
        ({"x": [1, 2, 1]}, ValueError, r"grid\['x'\] holds 1 twice"),
        ({"x": [math.nan]}, ValueError, "NaN"),
        ({"x": {1, 2}}, TypeError, "is a set, which has no order"),
        ({"x": [[1]]}, TypeError, r"grid\['x'\]: got \[1\]"),
        ({1: [1]}, TypeError, "keyed by names"),
        ([3], TypeError, "must be a mapping"),
        (3, TypeError, "must be a mapping"),
        (
            {"x": range(1000), "y": range(101)},
            ValueError,
            r"101,000 cells \(x 1000 x y 101\), more than max_cells = 100,000",
        ),
    ],
)
def test_bad_grids_raise_before_any_work(grid, kind, message):
    def never(x, y=10):
        raise AssertionError

    with pytest.raises(kind, match=message):
        sweep(never, grid)


def test_near_names_of_parameters_and_studies():
    with pytest.raises(ValueError, match="no parameter 'sede'; did you mean 'seed'"):
        sweep(lambda seed: 0, {"sede": 1})
    with pytest.raises(ValueError, match="promotion"):
        sweep("promotoin")


def test_max_cells_can_be_raised():
    with pytest.raises(ValueError, match="max_cells = 3"):
        sweep(add, {"x": range(4)}, max_cells=3)
    assert len(sweep(add, {"x": range(4)}, max_cells=4)) == 4


def test_any_name_goes_to_a_function_that_takes_any():
    assert sweep(lambda **p: sum(p.values()), {"a": [1, 2], "b": 3})["result"].tolist() == [4, 5]


def test_positional_only_and_not_callable():
    with pytest.raises(TypeError, match="positional-only parameter 'x'"):
        sweep(lambda x, /: x, {"x": 1})
    with pytest.raises(TypeError, match="function must be callable"):
        sweep(3, {"x": 1})
    with pytest.raises(ValueError, match="grid must be given"):
        sweep(add)
    for threads in (0, 2.5, True):
        with pytest.raises(ValueError, match="kernel_threads"):
            sweep(add, {"x": 1}, kernel_threads=threads)
    for function in (lambda error: error, lambda **given: 0):
        with pytest.raises(ValueError, match="'error'"):
            sweep(function, {"error": 1})


def test_a_default_without_text_is_no_column():
    def cell(x, table=np.arange(3)):  # noqa: B008
        return table[x]

    assert list(sweep(cell, {"x": [0, 2]}).columns) == ["x", "result", "error"]


# ---- studies ----------------------------------------------------------------------------------------
def _study():
    return Study(
        name="sums",
        question="What is the sum?",
        cell=lambda *, fmt=pr.E4M3, x=1.0: {"rounded": float(pr.round_to(np.float32(x), fmt))},
        grid={"x": (0.3, 17.0)},
        reads={"fmt": lambda given: pr.parse_format(given) if isinstance(given, str) else given},
        figure=lambda table: None,
    )


def test_a_study_has_a_grid_of_its_own_of_which_parts_can_be_replaced():
    assert sweep(_study())[["fmt", "x", "rounded"]].values.tolist() == [
        ["e4m3", 0.3, 0.3125],
        ["e4m3", 17.0, 16.0],
    ]
    table = sweep(_study(), {"fmt": ["e5m2", pr.E4M3]})
    assert table["fmt"].tolist() == ["e5m2", "e4m3"] * 2 and table["x"].tolist() == [0.3, 0.3, 17.0, 17.0]
    assert len(sweep(_study(), [{"x": 1.0}, {"fmt": "bf16"}])) == 3


def test_bad_text_raises_before_any_work_and_names_the_parameter():
    with pytest.raises(ValueError, match=r"grid\['fmt'\].*e4m9x"):
        sweep(_study(), {"fmt": ["e4m3", "e4m9x"]})


# ---- rows -------------------------------------------------------------------------------------------
def test_a_cell_that_raises_is_a_row_with_its_error_and_types_stay():
    table = sweep(sweep_cells.picky, {"x": [1, 2, 3]})
    assert table["error"].tolist() == [None, "ArithmeticError: two is too much", None]
    assert table["half"].isna().tolist() == [False, True, False]
    assert table["whole"].dtype == "Int64" and table["whole"].tolist() == [0, pd.NA, 1]
    assert table["even"].dtype == "boolean"
    assert table.attrs["provenance"]["failed"] == 1 and table.attrs["provenance"]["complete"]


@pytest.mark.parametrize(
    "found, message",
    [
        ({"x": 1}, "ValueError: a cell must not return 'x'"),
        ({"error": 1}, "ValueError: a cell must not return 'error'"),
        ({1: 2}, "TypeError: a cell must return its metrics by name"),
        ({"m": [1]}, r"TypeError: metric 'm': got \[1\]"),
        ([1], "TypeError: metric 'result'"),
        ("\ud800", "TypeError: metric 'result': got str that cannot be written"),
    ],
)
def test_what_is_no_row_is_the_cells_error(found, message):
    (error,) = sweep(lambda x: found, {"x": [1]})["error"]
    assert error.startswith(message.replace("\\", ""))


@pytest.mark.parametrize(
    "error, said",
    [(ValueError("\ud800"), r"ValueError: \ud800"), (Unsayable(), "Unsayable, which cannot be printed")],
)
def test_errors_that_cannot_be_written_or_printed_are_rows_too(tmp_path, error, said):
    def cell(x):
        raise error

    for store in (None, tmp_path / "a.sqlite"):
        assert sweep(cell, {"x": [1]}, store=store)["error"].tolist() == [said]


def test_special_values_survive():
    values = {"nan": math.nan, "inf": math.inf, "minus": -0.0, "none": None, "big": 2**70, "text": "a"}
    row = sweep(lambda x: values, {"x": 1}).iloc[0]
    assert math.isnan(row["nan"]) and row["inf"] == math.inf and math.copysign(1, row["minus"]) == -1
    assert row["none"] is None and row["big"] == 2**70 and row["text"] == "a"


@pytest.mark.parametrize("others", [[None], [1.5], [-1], [10**400, 0.5], []])
def test_large_ints_keep_every_digit(others):
    values = [2**64 - 1, *others]
    assert sweep(lambda x: values[x], {"x": range(len(values))})["result"].tolist() == values


def test_metrics_may_differ_between_cells():
    table = sweep(lambda x: {"a": x} if x < 2 else {"b": x}, {"x": [1, 2]})
    assert list(table.columns) == ["x", "a", "b", "error"]
    assert table["a"].tolist() == [1, pd.NA]


def test_provenance_says_what_made_the_table():
    table = sweep(sweep_cells.cell, {"accumulator": [pr.HOPPER_FP8, pr.EXACT], "k": 64})
    provenance = table.attrs["provenance"]
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["function"] == "sweep_cells:cell" and len(provenance["source_sha256"]) == 64
    assert provenance["parameters"] == ["accumulator", "k", "seed", "distribution"]
    assert provenance["named"]["HOPPER_FP8"] == repr(pr.HOPPER_FP8)
    assert provenance["versions"]["numpy"] == np.__version__
    assert (provenance["cells"], provenance["done"], provenance["complete"]) == (2, 2, True)
    assert table["seed"].tolist() == [0, 0]


# ---- interrupted ------------------------------------------------------------------------------------
def _interrupts(x):
    if x == 2:
        raise KeyboardInterrupt
    return x


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match="interrupted: 3 of 5 cells are missing"):
        table = sweep(_interrupts, {"x": range(5)})
    assert table["result"].tolist() == [0, 1] and not table.attrs["provenance"]["complete"]
    store = tmp_path / "a.sqlite"
    with pytest.warns(UserWarning, match="run again with the same store"):
        sweep(_interrupts, {"x": range(5)}, store=store)
    assert read_store(store)["result"].tolist() == [0, 1]


def test_a_whole_sweep_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep(add, {"x": [1]}, progress=False)


def test_without_a_terminal_no_bar_is_made(monkeypatch, capsys):
    # tqdm.auto draws in notebooks whether or not standard error is a terminal.
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert len(sweep(add, {"x": range(3)})) == 3
    assert capsys.readouterr().err == ""


def test_progress_is_shown_when_asked_for(capsys):
    sweep(add, {"x": range(3)}, progress=True)
    assert "3/3" in capsys.readouterr().err
    sweep(add, {"x": range(3)})
    assert capsys.readouterr().err == ""  # no terminal


def test_kernel_threads_are_set_and_put_back():
    before = pr.get_num_threads()
    assert sweep(sweep_cells.threads, {"x": 1}, kernel_threads=3)["threads"].tolist() == [3]
    assert pr.get_num_threads() == before


# ---- xarray -----------------------------------------------------------------------------------------
def test_to_xarray_has_a_dimension_for_what_varies_in_the_grids_order():
    table = sweep(add, {"x": [3, 1, 2], "y": [20, 10]})
    found = to_xarray(table)
    assert dict(found.sizes) == {"x": 3, "y": 2} and found["x"].values.tolist() == [3, 1, 2]
    assert found["sum"].sel(x=1, y=20).item() == 21 and "error" not in found
    assert json.loads(found.attrs["provenance"])["cells"] == 6
    part = to_xarray(table.iloc[:-1])
    assert math.isnan(part["sum"].sel(x=2, y=10).item())


def test_to_xarray_refuses_what_is_no_table_of_a_sweep():
    with pytest.raises(ValueError, match="must come from sweep"):
        to_xarray(pd.DataFrame({"x": [1]}))
    table = sweep(add, {"x": [1, 2]})
    twice = pd.concat([table, table])
    twice.attrs = table.attrs
    with pytest.raises(ValueError, match="several rows with"):
        to_xarray(twice)
    for empty in (table.iloc[:0], table[table["x"] > 2]):
        assert len(empty) == 0 and empty.attrs["provenance"]["parameters"]
        with pytest.raises(ValueError, match=r"^table must have at least one row, got none"):
            to_xarray(empty)


# ---- extras -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "package, extra, use",
    [
        ("pandas", "sweep", lambda: sweep(add, {"x": [1]})),
        ("pandas", "sweep", lambda: read_store("a.sqlite")),
        ("xarray", "sweep", lambda: to_xarray(sweep(add, {"x": [1]}))),
        ("distributed", "distributed", lambda: sweep(add, {"x": [1]}, executor="tcp://127.0.0.1:1")),
    ],
)
def test_a_missing_package_names_its_extra(package, extra, use, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'precision-emu\[{extra}\]'"):
        use()


def test_the_module_alone_starts_neither_pandas_nor_a_compiler():
    script = (
        "import sys, precision.sweep\n"
        "print(sorted({'numba', 'pandas', 'matplotlib', 'xarray', 'distributed', 'tqdm'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
