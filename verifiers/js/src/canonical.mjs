// JSON in the form that digests are taken of: sorted keys, no spaces, nothing escaped that need not be, and every
// number as it was written. JSON.parse would turn 1.0 into 1, so the text is read here.

const SPACES = /[ \t\n\r]*/y;
const SCALAR = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;

/** The canonical form of a JSON object's text, without some of its own keys. Throws SyntaxError. */
export function canonicalise(text, leftOut = []) {
  const reader = new Reader(text);
  const written = reader.readValue(new Set(leftOut));
  reader.skip(SPACES);
  if (reader.place !== text.length) throw new SyntaxError(`more than one JSON value, at ${reader.place}`);
  return written;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.place = 0;
  }

  skip(pattern) {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text);
    if (!found) throw new SyntaxError(`no JSON at ${this.place}`);
    this.place = pattern.lastIndex;
    return found[0];
  }

  next() {
    this.skip(SPACES);
    return this.text[this.place];
  }

  take(character) {
    if (this.next() !== character) throw new SyntaxError(`${character} is missing at ${this.place}`);
    this.place += 1;
  }

  readValue(leftOut = new Set()) {
    switch (this.next()) {
      case "{":
        return this.readObject(leftOut);
      case "[":
        return this.readArray();
      case '"':
        return JSON.stringify(JSON.parse(this.skip(STRING)));
      default:
        return this.skip(SCALAR);
    }
  }

  readArray() {
    const items = [];
    this.readMembers("[", "]", () => items.push(this.readValue()));
    return `[${items.join(",")}]`;
  }

  readObject(leftOut) {
    const members = new Map();
    this.readMembers("{", "}", () => {
      this.next();
      const key = JSON.parse(this.skip(STRING));
      this.take(":");
      members.set(key, this.readValue());
    });
    const keys = [...members.keys()].filter((key) => !leftOut.has(key)).sort(compareCodePoints);
    return `{${keys.map((key) => `${JSON.stringify(key)}:${members.get(key)}`).join(",")}}`;
  }

  readMembers(open, close, readOne) {
    this.take(open);
    if (this.next() === close) {
      this.place += 1;
      return;
    }
    for (;;) {
      readOne();
      if (this.next() !== ",") break;
      this.place += 1;
    }
    this.take(close);
  }
}

/** Order of code points; JavaScript's own is that of 16-bit units. */
function compareCodePoints(a, b) {
  return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
}
