"""What a file is by its first bytes, and what to do with one that no decoder here reads."""

import re
from importlib.util import find_spec

ANY = "convert it to PNG or JPEG"
HEIC = "is HEIC: convert it to JPEG, or pip install 'frostline[heif]'"
RAW = "is a camera's raw file: export it as JPEG or TIFF"
DICOM = "is DICOM: convert its images to PNG or TIFF, e.g. with dcm2pnm or pydicom"
VIDEO = "is a video: extract its frames as images"

# By file ending, for listings: these are no images that are ever read, and why.
OTHER_SUFFIXES = {
    ".dcm": DICOM,
    ".dicom": DICOM,
    ".svg": f"is an SVG drawing: {ANY}",
    ".pdf": f"is a PDF document: {ANY}",
    ".psd": f"is a Photoshop document: {ANY}",
    ".eps": f"is an EPS drawing: {ANY}",
    ".jxl": f"is JPEG XL: {ANY}",
    ".jp2": f"is JPEG 2000: {ANY}",
    ".exr": f"is OpenEXR: {ANY}",
    ".ico": f"is an icon: {ANY}",
    ".tga": f"is TGA: {ANY}",
    ".npy": "is a NumPy array: give arrays as .npz or in Python",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), RAW),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), VIDEO),
}

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_OTHERS = (
    (rb"\xff\n|\x00\x00\x00\x0cJXL ", OTHER_SUFFIXES[".jxl"]),
    (rb"\x00\x00\x00\x0cjP  |\xffO\xffQ", OTHER_SUFFIXES[".jp2"]),
    (rb"%PDF-", OTHER_SUFFIXES[".pdf"]),
    (rb"%!PS|\xc5\xd0\xd3\xc6", OTHER_SUFFIXES[".eps"]),
    (rb"8BPS", OTHER_SUFFIXES[".psd"]),
    (rb"\x00\x00[\x01\x02]\x00[\x01-\xff]\x00", OTHER_SUFFIXES[".ico"]),
    (rb"v/1\x01", OTHER_SUFFIXES[".exr"]),
    (rb"\x93NUMPY", OTHER_SUFFIXES[".npy"]),
    (rb"FUJIFILMCCD-RAW|IIU\x00|IIR[OS]|MMOR|II\*\x00....CR|....ftypcrx ", RAW),
    (rb"....ftyp|RIFF....AVI |\x1aE\xdf\xa3", VIDEO),
    (rb"SIMPLE  =", f"is FITS: {ANY}"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "is an archive: unpack it"),
    (rb"version https://git-lfs", "is a Git LFS pointer, not the image itself: run git lfs pull"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml.{0,900}?<)?(?:!--.{0,900}?<)?(?:!DOCTYPE )?svg", OTHER_SUFFIXES[".svg"]),
    (rb"(?i)\s*<(?:!doctype )?html", "is an HTML page, not an image: download it again"),
)
_KNOWN = [(re.compile(pattern, re.DOTALL), reason) for pattern, reason in _OTHERS]


def modern_decoder(data: bytes) -> str | None:
    """Return the name of the decoder, AVIF or HEIF, that some bytes are for, if there is one here."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS or (brand in (b"mif1", b"msf1") and b"avif" in data[12:64]):
        from PIL import features

        return "AVIF" if features.check("avif") else None
    if brand in _HEIF_BRANDS and find_spec("pillow_heif") is not None:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener(thumbnails=False)
        return "HEIF"
    return None


def other_kind(data: bytes) -> str | None:
    """Return what bytes are that no decoder here reads, and what to do with them; nothing when they are unknown."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS:
        return f"is AVIF: {ANY}, or install a Pillow that reads it (11.3 or later)"
    if brand in _HEIF_BRANDS:
        return HEIC
    if data[128:132] == b"DICM":
        return DICOM
    start = data[:2000]
    return next((reason for pattern, reason in _KNOWN if pattern.match(start)), None)
