"""Laws of exports: whatever the frames are, they come back from a NeXus file, each with its own axes."""

import h5py
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoscope.exports import export
from autoscope.exports.series import Series
from autoscope.exports.stacking import CHUNK_BYTES, chunk_shape
from autoscope.records import Axis, Frame, FrameMeta, Wait
from tests.unit.exports.lab import Lab

DTYPES = st.sampled_from(["<u1", "<u2", "<u4", "<i4", "<f4", "<f8", "|b1", "<c8", ">u2"])
NAMES = st.sampled_from(["y", "x", "energy", "x_m", "data", "kx", "Energie (eV)", "µ", "image"])
UNITS = st.sampled_from(["m", "eV", "", "rad"])
SIGNALS = st.sampled_from(["HAADF", "EELS", "4D STEM", "µ/2", "entry", "decisions", "journal"])


@st.composite
def frames(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    axes = tuple(
        Axis(name=draw(NAMES), unit=draw(UNITS), size=n, offset=draw(st.floats(-9, 9)), scale=draw(st.floats(1e-12, 9)))
        for n in shape
    )  # fmt: skip
    data = draw(hnp.arrays(np.dtype(draw(DTYPES)), shape))
    unit = draw(st.sampled_from(["counts", "A"]))
    meta = FrameMeta(signal=draw(SIGNALS), axes=axes, unit=unit, time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0)
    return Frame(meta, data)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kinds=st.lists(st.tuples(frames(), st.integers(1, 3)), min_size=1, max_size=3))
def test_every_frame_comes_back_with_its_axes(tmp_path_factory, kinds):
    lab = Lab(tmp_path_factory.mktemp("law") / "run")
    for frame, count in kinds:
        for _ in range(count):
            lab.act(lab.decision(Wait(duration_s=1.0), "test"), [frame])
    lab.end()
    seen = {}
    with h5py.File(export(lab.folder, "nexus").path) as file:
        for group in file["entry"].values():
            if group.attrs.get("NX_class") != "NXdata":
                continue
            files = group["file"].asstr()[()]
            axes = list(group.attrs["axes"])[1 if len(files) > 1 else 0 :]
            for k, name in enumerate(files):
                data = group["data"][k] if len(files) > 1 else group["data"][()]
                seen[name] = (data, [(group[axis][()], group[axis].attrs.get("units", "")) for axis in axes])
    assert set(seen) == set(lab.frames)
    for name, frame in lab.frames.items():
        data, axes = seen[name]
        assert data.dtype == frame.data.dtype
        np.testing.assert_array_equal(data, frame.data)
        for (values, unit), given_axis in zip(axes, frame.meta.axes, strict=True):
            np.testing.assert_array_equal(values, given_axis.values())
            assert unit == given_axis.unit


@given(
    shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=5000),
    count=st.integers(1, 10**6),
    dtype=DTYPES,
)
def test_a_chunk_is_never_empty_never_larger_than_the_data_and_bounded(shape, count, dtype):
    names = ("y", "x", "energy", "k")
    axes = tuple(Axis(name=name, unit="m", size=n) for name, n in zip(names, shape, strict=False))
    series = Series("", "s", "s", "counts", dtype, shape, axes, count)
    chunk = chunk_shape(series)
    assert all(1 <= c <= n for c, n in zip(chunk, (count, *shape), strict=True))
    energy_bytes = shape[-1] * np.dtype(dtype).itemsize if series.kind in ("map", "spectrum") else 0
    assert np.prod(chunk) * np.dtype(dtype).itemsize <= max(CHUNK_BYTES, energy_bytes)
