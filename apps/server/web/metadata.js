// What a picture file says of how it was made, whichever program of ours or of A1111's family wrote it: the server reads it.
import * as api from "/api.js";
import { dataUrl } from "/picture.js";

/// The settings as fields of a request, with `enhanced_prompt` where one was drawn; null: the file has none.
export async function settingsOf(blob) {
  try {
    const { items, parameters } = await api.pngInfo(await dataUrl(blob));
    if (items.ernie_image) return settingsOfRecord(JSON.parse(quotedSeeds(items.ernie_image)));
    return parameters.Steps ? settingsOfParameters(parameters) : null;
  } catch {
    return null;
  }
}

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

/// Values as the server has them: all are text.
function settingsOfParameters(values) {
  const number = (name) => (name in values ? Number(values[name]) : undefined);
  return { prompt: values.Prompt, negative_prompt: values["Negative prompt"], width: number("Size-1"), height: number("Size-2"),
           num_inference_steps: number("Steps"), guidance_scale: number("CFG scale"),
           seeds: /^\d+$/.test(values.Seed) ? [values.Seed] : [], model: values.Model,
           variation_strength: number("Variation seed strength"),
           variation_seeds: "Variation seed" in values ? [values["Variation seed"]] : [],
           hires_scale: number("Hires upscale"), ...("Hires upscale" in values && { hires_strength: number("Denoising strength") }) };
}
