// What pictures were made from: the server forgets that when a job is over. Uploads are known for as long as the page is
// open, pictures made here for as long as they are kept.
import * as api from "/api.js";
import { el } from "/dom.js";
import { load, save } from "/storage.js";

const kUploads = 16;
const kMade = 200;

const uploads = new Map();  // SHA-256, as the server has it -> origin, the newest last

/// `origin`: {url, margins}; `url` is a data URL, or the address of a picture made here.
export function remember(sha256, origin) {
  if (origin.url.startsWith("data:")) {
    uploads.delete(sha256);
    uploads.set(sha256, origin);
    if (uploads.size > kUploads) uploads.delete(uploads.keys().next().value);
    return;
  }
  const made = load("origins", []).filter(([other]) => other !== sha256);
  save("origins", [...made, [sha256, origin]].slice(-kMade));
}

/// What the job's pictures were made from; null if that is not known any more.
export function originOf(job) {
  const { sha256 } = job.request.image ?? {};
  if (!sha256) return null;
  return uploads.get(sha256) ?? load("origins", []).find(([other]) => other === sha256)?.[1] ?? null;
}

/// The address of the picture as it was, in the place that it has in the result.
export async function urlOfOrigin({ url, margins: { left, top, right, bottom } }) {
  const source = url.startsWith("data:") ? url : await api.picture(url);
  if (left + top + right + bottom === 0) return source;
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = el("canvas");
  canvas.width = image.naturalWidth + left + right;
  canvas.height = image.naturalHeight + top + bottom;
  canvas.getContext("2d").drawImage(image, left, top);
  return canvas.toDataURL();
}
