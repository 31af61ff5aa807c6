// Files of a drop or a chosen folder: folders are read to the bottom, and files in them that are no images are left out.

const ENDINGS = { jpg: "jpeg", jpe: "jpeg", jfif: "jpeg", tif: "tiff", heic: "heif" };

// Must be called before the first wait of a drop's listener: the list is empty afterwards.
export function takeEntries(data) {
  const items = [...data.items].filter((item) => item.kind === "file");
  return items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
}

export async function readEntries(entries, formats) {
  const nested = await Promise.all(entries.map((entry) => (entry instanceof File ? [entry] : read(entry, formats))));
  return nested.flat();
}

async function read(entry, formats) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader returns its entries in portions
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) break;
    found.push(...portion);
  }
  const files = (await Promise.all(found.map((inner) => read(inner, formats)))).flat();
  return onlyImages(files, formats);
}

export function onlyImages(files, formats) {
  const known = formats.map((name) => name.toLowerCase());
  return files.filter((file) => {
    const ending = file.name.split(".").pop().toLowerCase();
    return known.includes(ENDINGS[ending] ?? ending);
  });
}
