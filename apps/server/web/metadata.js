// What a picture file says of how it was made: texts of a PNG, and the comment in the EXIF data of a JPEG or WebP, as A1111
// writes them and this program too. All of it is somebody else's bytes: what cannot be read is not there.
const kMostText_bytes = 1 << 20;

const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
const utf8 = (bytes) => new TextDecoder().decode(bytes);
const latin1 = (bytes) => new TextDecoder("latin1").decode(bytes);

/// The settings as fields of a request, with `enhanced_prompt` where one was drawn; null: the file has none.
export async function settingsOf(blob) {
  try {
    const texts = await textsOf(new Uint8Array(await blob.arrayBuffer()));
    if (texts.has("ernie_image")) return settingsOfRecord(JSON.parse(quotedSeeds(texts.get("ernie_image"))));
    return texts.has("parameters") ? settingsOfParameters(texts.get("parameters")) : null;
  } catch {
    return null;
  }
}

async function textsOf(bytes) {
  if (ascii(bytes, 1, 3) === "PNG") return textsOfPng(bytes);
  const exif = ascii(bytes, 0, 4) === "RIFF" ? chunkOfWebp(bytes, "EXIF") : segmentOfJpeg(bytes);
  const comment = exif && userComment(exif);
  return new Map(comment ? [["parameters", comment]] : []);
}

// --- PNG

async function textsOfPng(bytes) {
  const view = new DataView(bytes.buffer);
  const texts = new Map();
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = ascii(bytes, at + 4, 4);
    if (at + 12 + length > bytes.length) break;
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (["tEXt", "zTXt", "iTXt"].includes(kind) && length <= kMostText_bytes) {
      const [name, text] = await textOfChunk(kind, data);
      texts.set(name, text);
    }
    at += 12 + length;
  }
  return texts;
}

async function textOfChunk(kind, data) {
  const end = data.indexOf(0);
  const name = latin1(data.subarray(0, end));
  if (kind === "tEXt") return [name, latin1(data.subarray(end + 1))];
  if (kind === "zTXt") return [name, latin1(await inflated(data.subarray(end + 2)))];
  const language = data.indexOf(0, end + 3);
  const text = data.subarray(data.indexOf(0, language + 1) + 1);
  return [name, utf8(data[end + 1] ? await inflated(text) : text)];
}

/// As much as a text may have, and no more.
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size > kMostText_bytes) throw new RangeError("the text is too long");
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// --- JPEG, WebP

function segmentOfJpeg(bytes) {
  const view = new DataView(bytes.buffer);
  if (view.getUint16(0) !== 0xffd8) return null;
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const length = view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1 && ascii(bytes, at + 4, 4) === "Exif") return bytes.slice(at + 10, at + 2 + length);
    at += 2 + length;
  }
  return null;
}

function chunkOfWebp(bytes, wanted) {
  const view = new DataView(bytes.buffer);
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true);
    if (ascii(bytes, at, 4) === wanted) {
      const begin = ascii(bytes, at + 8, 4) === "Exif" ? at + 14 : at + 8;
      return bytes.slice(begin, at + 8 + length);
    }
    at += 8 + length + length % 2;
  }
  return null;
}

/// Tag UserComment of a TIFF structure; Exif 2.32, section 4.6.5.
function userComment(tiff) {
  const view = new DataView(tiff.buffer);
  const little = ascii(tiff, 0, 2) === "II";
  const entry = (directory, tag) => {
    const count = view.getUint16(directory, little);
    for (let i = 0; i < count; ++i) {
      const at = directory + 2 + 12 * i;
      if (view.getUint16(at, little) === tag) return { count: view.getUint32(at + 4, little), value: view.getUint32(at + 8, little) };
    }
    return null;
  };
  const exif = entry(view.getUint32(4, little), 0x8769);
  const comment = exif && entry(exif.value, 0x9286);
  if (!comment || comment.count <= 8 || comment.count > 2 * kMostText_bytes) return null;
  const text = tiff.subarray(comment.value + 8, comment.value + comment.count);
  if (ascii(tiff, comment.value, 7) !== "UNICODE") return utf8(text);
  // The standard leaves the byte order open; of what is mostly ASCII the zeros tell.
  const isBig = text[0] === 0 || (text[1] !== 0 && !little);
  return new TextDecoder(isBig ? "utf-16be" : "utf-16le").decode(text);
}

// --- settings

/// Seeds have 64 bits.
const quotedSeeds = (text) => text.replace(/"(seeds|variation_seeds)"\s*:\s*\[([\d\s,]*)\]/g,
  (_, name, list) => `"${name}":[${list.replace(/\d+/g, '"$&"')}]`);

function settingsOfRecord(record) {
  const { image_index: index = 0, num_images_per_prompt: each = 1, seeds } = record;
  const prompt = Math.floor(index / each);
  const drawn = record.prompts[prompt];
  const negatives = record.negative_prompts ?? [];
  const { width, height, num_inference_steps, guidance_scale, variation_strength, hires_scale, hires_width, hires_height,
          hires_strength, hires_steps } = record;
  const variations = record.variation_seeds ?? [];
  return { prompt: record.original_prompts?.[prompt] ?? drawn, ...(record.original_prompts && { enhanced_prompt: drawn }),
           negative_prompt: negatives[prompt] ?? negatives[0] ?? "", width, height, num_inference_steps, guidance_scale,
           seeds: [seeds[index] ?? seeds[0]], model: record.model?.name, variation_strength, hires_scale, hires_width, hires_height,
           hires_strength, hires_steps, variation_seeds: variations.length ? [variations[index] ?? variations[0]] : [] };
}

/// "a cat\nNegative prompt: blurry\nSteps: 8, CFG scale: 1, Seed: 42, Size: 64x64, ..."
function settingsOfParameters(text) {
  const lines = text.trimEnd().split("\n");
  const last = lines.findLastIndex((line) => line.startsWith("Steps: "));
  if (last < 0) return null;
  const negative = lines.findIndex((line, i) => i < last && line.startsWith("Negative prompt:"));
  const values = new Map([...lines[last].matchAll(/\s*([\w \-/]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/g)].map(([, name, value]) => [name, value]));
  const number = (name) => (values.has(name) ? Number(values.get(name)) : undefined);
  const [width, height] = (values.get("Size") ?? "").split("x").map(Number);
  return { prompt: lines.slice(0, negative < 0 ? last : negative).join("\n").trim(),
           negative_prompt: negative < 0 ? "" : lines.slice(negative, last).join("\n").slice("Negative prompt:".length).trim(),
           width, height, num_inference_steps: number("Steps"), guidance_scale: number("CFG scale"),
           seeds: /^\d+$/.test(values.get("Seed")) ? [values.get("Seed")] : [], model: values.get("Model"),
           variation_strength: number("Variation seed strength"),
           variation_seeds: values.has("Variation seed") ? [values.get("Variation seed")] : [],
           hires_scale: number("Hires upscale"), ...(values.has("Hires upscale") && { hires_strength: number("Denoising strength") }) };
}
