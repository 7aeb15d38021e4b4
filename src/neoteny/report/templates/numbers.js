// The numbers of a figure: unpacked when it is drawn, from the document of its stream.
const documents = new Map();

function documentOf(name) {
  if (!documents.has(name)) documents.set(name, read(name));
  return documents.get(name);
}

const unpacked = new Map();

function floats(text) {
  if (!unpacked.has(text)) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    unpacked.set(text, new Float32Array(bytes.buffer));
  }
  return unpacked.get(text);
}

const arrayOf = (value) => (value && value.floats !== undefined ? floats(value.floats) : value);

// A series with its numbers, whether it has its own or shows a column of its stream's.
function filled(series, source) {
  if (!series.column) {
    return { ...series, x: arrayOf(series.x), y: arrayOf(series.y),
      low: arrayOf(series.low), high: arrayOf(series.high), single: [] };
  }
  const { measures, seeds, tasks } = documentOf(source);
  const [task, mean, low, high, count] = measures[series.column]?.[series.key] ?? [];
  if (mean === undefined) return { ...series, x: [], y: [], single: [] };
  const single = (seeds[series.column]?.[series.key] ?? []).map(([seed, at, values]) => (
    { seed, x: floats(tasks[at]), y: floats(values) }));
  return { ...series, x: floats(tasks[task]), y: floats(mean), low: low && floats(low),
    high: high && floats(high), count: typeof count === "string" ? floats(count) : count, single };
}

// The configurations of a method's runs in words, of one seed or of all.
function configuration(source, key, seed) {
  const known = documentOf(source).about?.[key] ?? [];
  const mine = known.filter(([seeds]) => seed === undefined || seeds.includes(seed));
  if (!mine.length) return [];
  const more = mine.length > 1 ? [`and ${mine.length - 1} other configurations`] : [];
  return [...mine[0][1], ...more];
}
