// What this browser remembers: settings, the API key, theme and language. Everything works without, only less conveniently.

const kPrefix = "ernie-image.";

export function load(name, otherwise = null) {
  try {
    const text = localStorage.getItem(kPrefix + name);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;  // storage is forbidden, or somebody else wrote there
  }
}

export function save(name, value) {
  try {
    if (value === null || value === undefined) localStorage.removeItem(kPrefix + name);
    else localStorage.setItem(kPrefix + name, JSON.stringify(value));
  } catch {
    // Forbidden or full: the value lives as long as the page.
  }
}
