// What an ONNX file says of itself. onnxruntime does not give its metadata out, so the protocol buffer is read here:
// of the outer message ModelProto the field metadata_props alone, everything else is skipped.

const METADATA_PROPS = 14;
const [KEY, VALUE] = [1, 2];
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** The metadata of a graph's bytes, by key. Throws RangeError where they are no protocol buffer. */
export function readMetadata(bytes) {
  const found = {};
  for (const [number, part] of readFields(bytes)) {
    if (number !== METADATA_PROPS) continue;
    const entry = Object.fromEntries(readFields(part));
    found[text(entry[KEY])] = text(entry[VALUE]);
  }
  return found;
}

function text(bytes) {
  return bytes === undefined ? "" : Buffer.from(bytes).toString("utf8");
}

function* readFields(bytes) {
  let place = 0;
  const readVarint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (place >= bytes.length || factor > 2 ** 63) throw new RangeError("no protocol buffer");
      const byte = bytes[place];
      place += 1;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (place < bytes.length) {
    const key = readVarint();
    const [number, type] = [Math.floor(key / 8), key % 8];
    let length = 0;
    if (type === VARINT) readVarint();
    else if (type === BYTES) length = readVarint();
    else if (type === FIXED64) length = 8;
    else if (type === FIXED32) length = 4;
    else throw new RangeError("no protocol buffer");
    if (place + length > bytes.length) throw new RangeError("no protocol buffer");
    if (type === BYTES) yield [number, bytes.subarray(place, place + length)];
    place += length;
  }
}
