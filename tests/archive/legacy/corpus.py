"""Hostile old-style files, each with what its refusal must say; every case found by fuzzing is added here.

A case writes files into an empty folder and names the reader that meets them. Nothing large is stored: what
is large is made on the spot.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import lzma
import os
import pickle
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MASK = np.eye(4, 6, dtype=np.bool_)
PACKED = {"shape": [4, 6], "packed_bits_b64": base64.b64encode(np.packbits(MASK).tobytes()).decode()}

Make = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A hostile input.

    Attributes:
        name: of the case.
        reader: ``segments``, ``filtered``, ``candidates``, ``raw``, ``run`` or ``trees``.
        make: writes it.
        says: regular expression that the error must match.
    """

    name: str
    reader: str
    make: Make
    says: str


CASES: list[Case] = []


def case(reader: str, says: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        CASES.append(Case(make.__name__, reader, make, says))
        return make

    return add


# Zip files


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def frame_json(objects: object = None, **fields: object) -> bytes:
    value = {
        "frame_index": 0,
        "frame_name": "0.png",
        "objects": {"1": PACKED} if objects is None else objects,
    }
    return json.dumps({**value, **fields}).encode()


def segments(folder: Path, frame: bytes, **members: bytes) -> None:
    entry = "frames/frame_000000.json"
    manifest = json.dumps({"meta": {}, "frames": [{"frame_index": 0, "entry": entry}]}).encode()
    zip_of(folder / "video_segments.npz", {entry: frame, "manifest.json": manifest, **members})


def patched(folder: Path, name: str, offset: int, form: str, value: int) -> None:
    """Overwrite a field of a member's entry in the table of contents."""
    path = folder / "video_segments.npz"
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02", 0, data.rfind(name.encode()))
    struct.pack_into(form, data, at + offset, value)
    path.write_bytes(bytes(data))


@case("segments", "expected a zip file, found another")
def not_a_zip(folder: Path) -> None:
    (folder / "video_segments.npz").write_bytes(b"hello" * 100)


@case("segments", "expected a zip file")
def empty_file(folder: Path) -> None:
    (folder / "video_segments.npz").write_bytes(b"")


@case("segments", "cut off")
def zip_cut_off(folder: Path) -> None:
    segments(folder, frame_json())
    path = folder / "video_segments.npz"
    path.write_bytes(path.read_bytes()[:-40])


@case("segments", "damaged|cut off")
def zip_without_its_first_half(folder: Path) -> None:
    segments(folder, frame_json())
    path = folder / "video_segments.npz"
    path.write_bytes(path.read_bytes()[200:])


@case("segments", "damaged|cut off")
def zip_member_with_flipped_bits(folder: Path) -> None:
    segments(folder, frame_json())
    path = folder / "video_segments.npz"
    data = bytearray(path.read_bytes())
    data[70:90] = bytes(byte ^ 0xFF for byte in data[70:90])
    path.write_bytes(bytes(data))


@case("segments", "claim of 4000000000")
def zip_member_claims_gigabytes(folder: Path) -> None:
    segments(folder, frame_json())
    patched(folder, "frames/frame_000000.json", 24, "<I", 4_000_000_000)


@case("segments", "blanks")
def zip_bomb_of_blanks(folder: Path) -> None:
    segments(folder, b" " * (8 << 20))


@case("segments", "parts")
def zip_bomb_of_brackets(folder: Path) -> None:
    segments(folder, b'{"frame_index": 0, "objects": {"1": [' + b"[]," * (1 << 20))


@case("segments", "expected keys of at most")
def zip_bomb_of_keys(folder: Path) -> None:
    segments(folder, ("{" + ",".join(f'"{number}":1' for number in range(300_000)) + "}").encode())


@case("segments", "expected keys of at most")
def zip_bomb_of_long_keys(folder: Path) -> None:
    segments(folder, ("{" + ",".join(f'"{number}{"k" * 3_000_000}":1' for number in range(9)) + "}").encode())


@case("segments", "they overlap")
def zip_members_that_overlap(folder: Path) -> None:
    noise = base64.b64encode(np.random.default_rng(0).bytes(20_000))
    segments(folder, noise, **{f"frames/frame_00000{k}.json": b"{}" for k in range(1, 9)})
    path = folder / "video_segments.npz"
    data = bytearray(path.read_bytes())
    first = data.find(b"PK\x01\x02")
    at = first
    while (at := data.find(b"PK\x01\x02", at + 1)) > 0:  # every entry points at the first member
        data[at + 16 : at + 28] = data[first + 16 : first + 28]
        data[at + 42 : at + 46] = data[first + 42 : first + 46]
    path.write_bytes(bytes(data))


@case("segments", r"inside the archive, found '\.\./evil'")
def zip_name_that_climbs(folder: Path) -> None:
    segments(folder, frame_json(), **{"../evil": b"x"})


@case("segments", r"inside the archive, found '/etc/evil'")
def zip_name_that_is_absolute(folder: Path) -> None:
    segments(folder, frame_json(), **{"/etc/evil": b"x"})


@case("segments", r"inside the archive, found 'C:")
def zip_name_of_a_drive(folder: Path) -> None:
    segments(folder, frame_json(), **{"C:\\evil": b"x"})


@case("segments", "each member once")
def zip_with_a_name_twice(folder: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "video_segments.npz", "w") as archive:
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("manifest.json", b"{}")
        archive.writestr("manifest.json", b"{}")


@case("segments", "found a link")
def zip_with_a_link(folder: Path) -> None:
    with zipfile.ZipFile(folder / "video_segments.npz", "w") as archive:
        info = zipfile.ZipInfo("manifest.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")


@case("segments", "encrypted")
def zip_that_is_encrypted(folder: Path) -> None:
    segments(folder, frame_json())
    patched(folder, "manifest.json", 8, "<H", 1)


@case("segments", "plain or deflated")
def zip_with_another_compression(folder: Path) -> None:
    zip_of(folder / "video_segments.npz", {"manifest.json": b"{}"}, zipfile.ZIP_LZMA)


@case("segments", "table of contents of at most")
def zip_with_a_huge_table_of_contents(folder: Path) -> None:
    segments(folder, frame_json())
    path = folder / "video_segments.npz"
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\x05\x06") + 12, 0xF000_0000)
    path.write_bytes(bytes(data))


@case("segments", "lists, found no such member")
def zip_that_lost_a_frame(folder: Path) -> None:
    manifest = {"frames": [{"frame_index": 0, "entry": "frames/frame_000000.json"}]}
    zip_of(folder / "video_segments.npz", {"manifest.json": json.dumps(manifest).encode()})


@case("segments", "was not finished")
def zip_without_a_manifest(folder: Path) -> None:
    zip_of(folder / "video_segments.npz", {"frames/frame_000000.json": frame_json()})


@case("segments", "no file of tracked masks")
def zip_of_something_else(folder: Path) -> None:
    zip_of(folder / "video_segments.npz", {"readme.txt": b"hello"})


# JSON in them


def json_case(says: str, frame: bytes, name: str) -> None:
    CASES.append(Case(name, "segments", functools.partial(segments, frame=frame), says))


json_case("levels of nesting", b'{"frame_index": ' + b"[" * 100_000, "json_deep_arrays")
json_case("levels of nesting", b'{"a":' * 100_000, "json_deep_objects")
json_case("levels of nesting", b'{"other": ' + b'{"a": ' * 100, "json_deep_unknown_member")
json_case("sane length", b'{"frame_index": ' + b"9" * 10_000 + b"}", "json_number_of_many_digits")
json_case("whole number from 0", frame_json(frame_index=float("nan")), "json_frame_nan")
json_case("whole number from 0", frame_json(frame_index=-1), "json_frame_negative")
json_case("whole number from 0", frame_json(frame_index=1.5), "json_frame_fraction")
json_case("whole number from 0", frame_json(frame_index=2**31), "json_frame_beyond_32_bits")
json_case("whole number from 0", frame_json(frame_index=True), "json_frame_boolean")
json_case("whole number from 0", frame_json({"NaN": PACKED}), "json_object_nan")
json_case("whole number from 0", frame_json({"-1": PACKED}), "json_object_negative")
json_case("each object once", frame_json({"1": PACKED, "01": PACKED}), "json_object_twice")
json_case("each key once", b'{"frame_index": 0, "frame_index": 1, "objects": {}}', "json_key_twice")
json_case(
    "key of an object once", b'{"frame_index": 0, "objects": {"1": {"a": 1, "a": 2}}}', "json_inner_key_twice"
)
json_case("bits in base64", frame_json({"1": {**PACKED, "packed_bits_b64": "%%%%"}}), "json_bits_no_base64")
json_case("bits in base64", frame_json({"1": {**PACKED, "packed_bits_b64": "AAA"}}), "json_bits_bad_padding")
json_case("bits in base64", frame_json({"1": {**PACKED, "packed_bits_b64": "Ä" * 4}}), "json_bits_no_ascii")
json_case(
    "bytes of packed bits", frame_json({"1": {**PACKED, "packed_bits_b64": "AAAA" * 9}}), "json_bits_too_many"
)
json_case("bytes of packed bits", frame_json({"1": {**PACKED, "packed_bits_b64": ""}}), "json_bits_none")
json_case("found another mask", frame_json({"1": {"shape": [4, 6]}}), "json_mask_without_bits")
json_case("found another mask", frame_json({"1": [1, 2, 3]}), "json_mask_is_a_list")
json_case(
    "masks of 1 to", frame_json({"1": {**PACKED, "shape": [10**6, 10**6]}}), "json_shape_of_a_terapixel"
)
json_case("masks of 1 to", frame_json({"1": {**PACKED, "shape": [0, 6]}}), "json_shape_of_nothing")
json_case("whole number from 0", frame_json({"1": {**PACKED, "shape": [-4, -6]}}), "json_shape_negative")
json_case("whole number from 0", frame_json({"1": {**PACKED, "shape": [4, float("nan")]}}), "json_shape_nan")
json_case(r"a shape \[H, W\]", frame_json({"1": {**PACKED, "shape": "4x6"}}), "json_shape_is_text")
json_case(r"a shape \[H, W\]", frame_json({"1": {**PACKED, "shape": [2, 4, 3]}}), "json_shape_of_a_stack")
json_case(r"a shape \[H, W\]", frame_json({"1": {**PACKED, "shape": [1] * 99}}), "json_shape_of_many_sides")
json_case(
    "full_resolution_shape",
    frame_json({"1": {**PACKED, "full_resolution_shape": [10**7] * 2}}),
    "json_full_shape",
)
json_case("damaged or cut off|the end of the file", frame_json()[:-9], "json_cut_off")
json_case("the end of the document", frame_json() + b"{}", "json_followed_by_more")
json_case("UTF-8", b'{"frame_index": 0, "\xff\xfe": 1}', "json_in_latin1")
json_case("the name of a frame", frame_json(frame_name="x" * 10_000), "json_long_name")
json_case("expected '{'", b"[1, 2]", "json_of_another_kind")
json_case("characters", b'{"frame_index": "' + b"x" * (8 << 20) + b'"}', "json_long_text")
json_case(
    "characters|sane length",
    b'{"frame_index": 0, "objects": {"1": ' + b"1" * (6 << 20) + b"}}",
    "json_number_of_megabytes",
)


@case("segments", "each frame once")
def frame_in_two_members(folder: Path) -> None:
    segments(folder, frame_json(), **{"frames/frame_000001.json": frame_json()})


# Pickles


def pickled(folder: Path, data: bytes) -> None:
    """``data.npy`` with a header of an object array and the given instructions."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    zip_of(folder / "video_segments.npz", {"data.npy": header.getvalue() + data})


def pickle_case(says: str, data: bytes, name: str) -> None:
    CASES.append(Case(name, "segments", functools.partial(pickled, data=data), says))


class _Runs:
    """Unpickles to a call; never unpickled here."""

    def __init__(self, *call: object) -> None:
        self._call = call

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        function, *arguments = self._call
        return function, tuple(arguments)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


for protocol in (0, 1, 2, 3, 4, 5):
    pickle_case(
        r"refused: (posix|nt)\.system|refused",
        pickle.dumps({"0": _Runs(os.system, "touch /tmp/legacy-corpus-was-here")}, protocol),
        f"pickle_runs_a_command_{protocol}",
    )
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
ARRAY = RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
B1, OBJECT = b"cnumpy\ndtype\n" + text("b1") + b"\x85R", b"cnumpy\ndtype\n" + text("O8") + b"\x85R"
pickle_case(r"refused: posix\.system", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "pickle_global")
pickle_case(r"refused: builtins\.eval", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "pickle_stack_global")
pickle_case(
    r"refused: posix\.system",
    b"\x80\x04](" + text("posix") + b"\x94eh\x00" + text("system") + b"\x93.",
    "pickle_name_by_way_of_the_memo",
)
pickle_case(r"refused: subprocess\.Popen", b"(isubprocess\nPopen\n.", "pickle_instance")
pickle_case(r"refused: numpy\.load", b"cnumpy\nload\n.", "pickle_other_name_of_numpy")
pickle_case(
    r"refused: numpy\.core\.multiarray\.fromfile", b"cnumpy.core.multiarray\nfromfile\n.", "pickle_fromfile"
)
pickle_case(r"refused: numpy\.f2py", b"cnumpy.f2py.capi_maps\nload_f2cmap_file\n.", "pickle_gadget_of_numpy")
pickle_case(r"refused: copyreg\._reconstructor", b"ccopyreg\n_reconstructor\n.", "pickle_copyreg")
pickle_case("NEWOBJ", b"\x80\x02cnumpy\nndarray\n)\x81.", "pickle_newobj")
pickle_case("EXT1", b"\x80\x02\x82\x01.", "pickle_extension_code")
pickle_case("PERSID", b"Psomewhere\n.", "pickle_persistent_id")
pickle_case(
    "calls that make arrays",
    RECONSTRUCT + b"cnumpy\ndtype\nK\x00\x85C\x01b\x87R.",
    "pickle_reconstructs_a_dtype",
)
pickle_case("calls that make arrays", RECONSTRUCT + RECONSTRUCT + b"\x85R.", "pickle_calls_with_a_function")
pickle_case("calls that make arrays", text("system") + b")R.", "pickle_calls_a_text")
pickle_case(
    "calls that make arrays",
    b"cnumpy.core.multiarray\nscalar\n" + OBJECT + b"C\x08cposix\n.\x86R.",
    "pickle_scalar_of_objects_unpickles_again",
)
pickle_case(
    "calls that make arrays", b"cnumpy\ndtype\n" + text("V9999999999") + b"\x85R.", "pickle_void_type"
)
pickle_case(
    "found an array of object",
    ARRAY + b"(K\x01)" + OBJECT + b"\x89C\x08cposix\n.tb.",
    "pickle_array_of_objects_from_bytes",
)
pickle_case("the contents of an array", ARRAY + b"N" + b"b.", "pickle_array_without_contents")
pickle_case("the contents of an array", b"}}b.", "pickle_builds_a_dictionary")
pickle_case(
    "all its data",
    ARRAY + b"(K\x01J\x40\x42\x0f\x00J\x40\x42\x0f\x00\x86" + B1 + b"\x89C\x01xtb.",
    "pickle_terapixel",
)
pickle_case("all its data", ARRAY + b"(K\x01K\x04K\x06\x86" + B1 + b"\x89C\x01xtb.", "pickle_too_few_pixels")
pickle_case(
    "the contents of an array",
    ARRAY + b"(K\x01J\xff\xff\xff\xffK\x06\x86" + B1 + b"\x89C\x01xtb.",
    "pickle_negative_side",
)
pickle_case(
    "a claim of 1099511627776", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x", "pickle_claims_a_terabyte"
)
pickle_case("a claim of", b"X\xff\xff\xff\xff", "pickle_claims_long_text")
pickle_case("numbered objects", b"\x80\x02Nr\xff\xff\xff\xff.", "pickle_numbers_beyond_the_memo")
pickle_case("which is not there", b"\x80\x02h\x05.", "pickle_refers_to_nothing")
pickle_case("levels of nesting", b"(" * 1_000_000, "pickle_of_marks")
pickle_case("instructions for a frame", b"N" * 1_200_000, "pickle_that_never_ends")
pickle_case("instructions for a frame", b"]" + b"Na" * 1_200_000, "pickle_with_a_long_list")
pickle_case("numbered objects|instructions", b"N" + b"\x94" * 1_200_000, "pickle_fills_the_memo")
pickle_case(
    "instructions|keys and names",
    b"".join(text(f"{k:04000d}") + b"\x94" for k in range(6000)),
    "pickle_of_long_texts",
)
pickle_case(
    "belong to none yet", (b"B" + struct.pack("<I", 2**23) + b"\0" * 2**23) * 5, "pickle_holds_pixels"
)
pickle_case(
    "whole number from 0",
    b"})" + b"".join(b"\x94h%c\x86" % k for k in range(60)) + b"}s.",
    "pickle_key_of_a_million_parts",
)
pickle_case("expected masks by object", b"}" + text("0") + b"K\x05s.", "pickle_frame_is_a_number")
pickle_case(
    "expected a mask for object", b"}" + text("0") + b"}" + text("1") + b"K\x05ss.", "pickle_mask_is_a_number"
)
pickle_case("each frame once", b"}(" + (text("0") + b"}") * 2 + b"u.", "pickle_frame_twice")
pickle_case(
    "text or whole numbers as keys",
    b"}" + text("0") + b"}(" + (text("1") + b"N") * 2 + b"us.",
    "pickle_object_twice",
)
pickle_case("a value|without one|keys with values", b"}(Nu.", "pickle_key_without_value")
pickle_case("more bytes, found|cut off", pickle.dumps({"0": {"1": MASK}}, 4)[:-20], "pickle_cut_off")
pickle_case("the end of the file after the pickle", b"}.more", "pickle_followed_by_more")
pickle_case("protocol 9", b"\x80\x09}.", "pickle_of_the_future")
pickle_case("booleans or bytes", pickle.dumps({"0": {"1": np.ones((3, 4))}}, 4), "pickle_of_floats")
pickle_case("refused", pickle.dumps({"0": {"1": np.array([["a"]])}}, 4), "pickle_of_texts")
pickle_case("refused", pickle.dumps({"0": {"1": {1, 2}}}, 4), "pickle_of_a_set")
pickle_case(
    "packed bits as an array",
    pickle.dumps({"0": {"1": {"packed_bits": "x", "shape": (1, 2)}}}, 4),
    "pickle_bits_are_text",
)
pickle_case(
    "bytes of packed bits",
    pickle.dumps({"0": {"1": {"packed_bits": np.zeros(3, np.uint8), "shape": (99, 99)}}}, 4),
    "pickle_bits_too_few",
)


@case("segments", "header of an array")
def array_header_that_nests(folder: Path) -> None:
    head = b"{'descr': " + b"(" * 5000
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    zip_of(folder / "video_segments.npz", {"data.npy": data})


@case("segments", "header of at most")
def array_header_of_gigabytes(folder: Path) -> None:
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{"
    zip_of(folder / "video_segments.npz", {"data.npy": data})


@case("segments", "expected an array file of NumPy")
def array_file_of_something_else(folder: Path) -> None:
    zip_of(folder / "video_segments.npz", {"data.npy": b"hello, world"})


def dense(folder: Path, shape: tuple[int, ...], data: bytes, ids: list[int]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|b1", "fortran_order": False, "shape": shape})
    numbers = io.BytesIO()
    np.save(numbers, np.array(ids, np.int32))
    members = {
        "frame_000000/object_id.npy": numbers.getvalue(),
        "frame_000000/masks.npy": header.getvalue() + data,
    }
    zip_of(folder / "video_segments.npz", members)


@case("segments", "masks of 1 to")
def dense_terapixel(folder: Path) -> None:
    dense(folder, (1, 10**6, 10**6), b"", [1])


@case("segments", "an array of masks, found one of shape")
def dense_shape_beyond_memory(folder: Path) -> None:
    dense(folder, (10**6, 10**6, 10**6), b"", [1])


@case("segments", "cut off")
def dense_cut_off(folder: Path) -> None:
    dense(folder, (2, 4, 6), b"\1" * 30, [1, 2])


@case("segments", "one mask for each of 1 ids")
def dense_without_ids(folder: Path) -> None:
    dense(folder, (2, 4, 6), b"\1" * 48, [1])


# Tar files


def chunk(folder: Path, data: bytes, name: str = "chunk_0000.tar") -> None:
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / name).write_bytes(data)


def tar_of(*infos: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, data in infos:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


META = json.dumps({"frame_idx": 0, "frame_name": "0.png", "candidates": [{"level": 2}]}).encode()


def tar_case(says: str, data: bytes, name: str) -> None:
    CASES.append(Case(name, "raw", functools.partial(chunk, data=data), says))


def header(name: str, size: bytes) -> bytes:
    """A member's header with the size field as given, its checksum right."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[124 : 124 + len(size)] = size
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


for kind, word in (
    (tarfile.SYMTYPE, "a symbolic link"),
    (tarfile.LNKTYPE, "a hard link"),
    (tarfile.CHRTYPE, "a device"),
    (tarfile.BLKTYPE, "a device"),
    (tarfile.FIFOTYPE, "a pipe"),
):
    data = tar_of((entry("frame_00000/meta.json", kind, "/etc/passwd"), b""))
    tar_case(f"found {word}: 'frame_00000/meta.json'", data, f"tar_{word.replace(' ', '_')}_{kind.decode()}")
tar_case("inside the archive", tar_of((entry("../../evil"), b"x")), "tar_name_that_climbs")
tar_case("inside the archive", tar_of((entry("/etc/evil"), b"x")), "tar_name_that_is_absolute")
tar_case("expected frame_N/meta.json", tar_of((entry("evil.txt"), b"x")), "tar_other_member")
tar_case("an extended header", tar_of((entry("x" * 200), b"x"), form=tarfile.GNU_FORMAT), "tar_long_name")
tar_case(
    "an extended header", tar_of((entry("ä" * 150), b"x"), form=tarfile.PAX_FORMAT), "tar_extended_header"
)
tar_case("each member once", tar_of(*[(entry("frame_00000/meta.json"), META)] * 2), "tar_member_twice")
tar_case("claim of 8589934591", header("frame_00000/meta.json", b"77777777777"), "tar_claims_gigabytes")
tar_case(
    "claim of 1208925819614629174706175",
    header("frame_00000/meta.json", b"\x80\x00" + b"\xff" * 10),
    "tar_claims_more_bytes_than_there_are",
)
tar_case("a number in a header", header("frame_00000/meta.json", b"-7777777777"), "tar_negative_size")
tar_case("a number in a header", b"\1" * 512, "tar_of_noise")
tar_case("cut off", tar_of((entry("frame_00000/meta.json"), META))[:600], "tar_cut_off")
tar_case("cut off", b"\x1f\x8b\x08\0\0\0\0\0\0\3\x03", "tar_gz_cut_off")
tar_case("damaged or cut off", b"BZh9" + b"noise" * 9, "tar_bz2_damaged")
tar_case("damaged or cut off", lzma.compress(b"\0" * 99)[:40], "tar_xz_cut_off")
tar_case(
    "damaged or cut off.*[Mm]emory",
    lzma.compress(META, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "preset": 0}]),
    "tar_xz_that_wants_memory",
)
tar_case(
    "meta.json before it, found none",
    tar_of((entry("frame_00000/masks.npz"), b"x")),
    "tar_masks_without_meta",
)
tar_case(
    "expected a zip file",
    tar_of((entry("frame_00000/meta.json"), META), (entry("frame_00000/masks.npz"), b"x" * 99)),
    "tar_masks_that_are_none",
)
tar_case("expected a frame_idx", tar_of((entry("frame_00000/meta.json"), b"{}")), "tar_meta_without_frame")
tar_case(
    "levels of nesting", tar_of((entry("frame_00000/meta.json"), b'{"a":' * 9999)), "tar_meta_that_nests"
)


def raw_masks(folder: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    data = tar_of((entry("frame_00000/meta.json"), META), (entry("frame_00000/masks.npz"), buffer.getvalue()))
    chunk(folder, data)


@case("raw", "bytes of packed bits")
def raw_bits_of_another_shape(folder: Path) -> None:
    raw_masks(folder, packed_masks=np.zeros((1, 3), np.uint8), mask_shape=np.array([99, 99]))


@case("raw", "masks of 1 to")
def raw_terapixel(folder: Path) -> None:
    raw_masks(folder, packed_masks=np.zeros((1, 3), np.uint8), mask_shape=np.array([10**6, 10**6]))


@case("raw", "the array mask_shape beside")
def raw_bits_without_shape(folder: Path) -> None:
    raw_masks(folder, packed_masks=np.zeros((1, 3), np.uint8))


@case("raw", "packed_masks or masks")
def raw_without_masks(folder: Path) -> None:
    raw_masks(folder, other=np.zeros(3))


@case("raw", r"\(N, H, W\) masks|an array of masks|bytes|short row")
def raw_objects(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = io.BytesIO()
        np.save(member, np.array([_Runs(os.system, "true")], dtype=object))
        archive.writestr("masks.npy", member.getvalue())
    data = tar_of((entry("frame_00000/meta.json"), META), (entry("frame_00000/masks.npz"), buffer.getvalue()))
    chunk(folder, data)


@case("raw", "found the name '../chunk.tar.gz'; refused")
def raw_chunk_outside(folder: Path) -> None:
    (folder / "raw").mkdir()
    (folder / "raw" / "manifest.json").write_text(
        json.dumps({"frames": [], "chunks": [{"name": "../chunk.tar.gz"}]})
    )


@case("raw", "cannot read .*chunk_0000.tar.gz")
def raw_chunk_missing(folder: Path) -> None:
    (folder / "raw").mkdir()
    (folder / "raw" / "manifest.json").write_text(
        json.dumps({"frames": [], "chunks": [{"name": "chunk_0000.tar.gz"}]})
    )


@case("raw", "the 7 frames that manifest.json lists, found 1")
def raw_frames_missing(folder: Path) -> None:
    chunk(folder, tar_of((entry("frame_00000/meta.json"), META)))
    (folder / "raw" / "manifest.json").write_text(
        json.dumps({"frames": [{}] * 7, "chunks": [{"name": "chunk_0000.tar"}]})
    )


# Other JSON files


def text_file(folder: Path, name: str, value: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def file_case(reader: str, says: str, file: str, value: object, name: str) -> None:
    CASES.append(Case(name, reader, functools.partial(text_file, name=file, value=value), says))


ITEM = {"frame_idx": 0, "bbox": [0, 0, 3, 3], "level": 2}
file_case("candidates", "four numbers", "candidates.json", {"items": [ITEM | {"bbox": [1, 2]}]}, "box_of_two")
file_case(
    "candidates",
    "finite",
    "candidates.json",
    {"items": [ITEM | {"bbox": [1, 2, 3, float("inf")]}]},
    "box_inf",
)
file_case(
    "candidates",
    "inside an image",
    "candidates.json",
    {"items": [ITEM | {"bbox": [1, 2, 3, 1e20]}]},
    "box_far",
)
file_case(
    "candidates", "whole number", "candidates.json", {"items": [{"bbox": [1, 2, 3, 4]}]}, "item_without_frame"
)
file_case("candidates", "objects in the list", "candidates.json", {"items": [[1]]}, "item_is_a_list")
file_case(
    "candidates", "whole number", "candidates.json", {"items": [ITEM | {"unique_id": "x"}]}, "item_odd_id"
)
file_case(
    "candidates",
    "finite number",
    "candidates.json",
    {"items": [ITEM | {"stability_score": "x"}]},
    "item_odd_score",
)
file_case(
    "candidates",
    "ascending order",
    "candidates.json",
    {"items": [ITEM, ITEM | {"frame_idx": 1}, ITEM]},
    "items_out_of_order",
)
file_case("candidates", "expected '\\['", "candidates.json", {"items": {"a": 1}}, "items_are_an_object")
file_case(
    "candidates",
    "masks of .* bytes in a frame",
    "candidates.json",
    {"items": [{"frame_idx": 0}] * 10_001},
    "items_too_many",
)
file_case(
    "filtered",
    "3 masks in frame 0 as it says",
    "filtered.json",
    {"frames": [{"frame_idx": 0, "count": 3, "items": []}]},
    "count_differs",
)
file_case(
    "filtered",
    "a frame_idx for every frame",
    "filtered.json",
    {"frames": [{"items": []}]},
    "frame_without_number",
)
file_case(
    "filtered",
    "ascending order",
    "filtered.json",
    {"frames": [{"frame_idx": 1}, {"frame_idx": 0}]},
    "frames_back",
)
file_case(
    "filtered",
    "found another mask",
    "filtered.json",
    {"frames": [{"frame_idx": 0, "items": [{"mask": 5}]}]},
    "mask_is_a_number",
)
file_case("run", "expected a list", "manifest.json", {"selected_frames": 5}, "manifest_frames_number")
file_case(
    "run",
    "as many selected_indices",
    "manifest.json",
    {"selected_frames": ["a"], "selected_indices": [1, 2]},
    "manifest_lengths",
)
file_case(
    "run",
    "whole number",
    "manifest.json",
    {"selected_frames": ["a"], "selected_indices": [-5]},
    "manifest_negative",
)
file_case("run", "finite", "manifest.json", {"min_area": float("nan")}, "manifest_nan")
file_case("run", "nesting", "manifest.json", '{"a": ' + "[" * 99_999, "manifest_nests")
file_case(
    "trees", "coarser level", "relations.json", {"hierarchy": {"2": {"1": {"parent": 1}}}}, "tree_own_parent"
)
file_case(
    "trees", "coarser level", "relations.json", {"hierarchy": {"2": {"1": {"parent": 9}}}}, "tree_lost_parent"
)
file_case(
    "trees", "whole number", "relations.json", {"hierarchy": {"2": {"NaN": {"parent": None}}}}, "tree_odd_id"
)
file_case("trees", "ids such as", "relations.json", {"objects": [{"id": "x"}]}, "tree_odd_old_id")
file_case("trees", "an object for each node", "relations.json", {"hierarchy": {"2": [5]}}, "tree_odd_node")


@case("filtered", "found a folder, pipe or device")
def file_is_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "filtered.json")


@case("filtered", "found a folder, pipe or device")
def file_is_a_folder(folder: Path) -> None:
    (folder / "filtered.json").mkdir()


@case("filtered", "cannot read")
def file_is_a_circle_of_links(folder: Path) -> None:
    (folder / "filtered.json").symlink_to(folder / "filtered.json")


@case("filtered", "expected .N, H, W. masks")
def stack_of_objects(folder: Path) -> None:
    text_file(folder, "filtered.json", {"frames": [{"frame_idx": 0, "items": [{}]}]})
    np.save(folder / "seg_frame_00000.npy", np.array([_Runs(os.system, "true")], dtype=object))


@case("filtered", "masks of 1 to")
def stack_of_a_terapixel(folder: Path) -> None:
    text_file(folder, "filtered.json", {"frames": [{"frame_idx": 0, "items": [{}]}]})
    with (folder / "seg_frame_00000.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00")
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "|b1", "fortran_order": False, "shape": (1, 10**6, 10**6)}
        )
        file.seek(0)
        file.write(head.getvalue())
