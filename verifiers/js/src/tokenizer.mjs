// Text to ids by @huggingface/tokenizers, which does not cut: that is done here, as tokenizer.json says.

import { Tokenizer } from "@huggingface/tokenizers";

export class FolderTokenizer {
  /** @param file tokenizer.json, and config tokenizer_config.json (or an empty object), as objects */
  constructor(file, config, maxTokens) {
    this.tokenizer = new Tokenizer(file, config);
    this.maxTokens = file.truncation?.max_length ?? maxTokens;
    this.cutLeft = file.truncation?.direction === "Left";
  }

  /** The id of a token; undefined where it has none. */
  idOf(token) {
    return this.tokenizer.token_to_id(token);
  }

  /** Ids of a text, special tokens included, at most maxTokens. */
  encode(text) {
    const whole = Array.from(this.tokenizer.encode(text).ids);
    if (!this.maxTokens || whole.length <= this.maxTokens) return whole;
    const bare = Array.from(this.tokenizer.encode(text, { add_special_tokens: false }).ids);
    const before = findFrame(whole, bare);
    const after = whole.length - bare.length - before;
    const room = Math.max(0, this.maxTokens - before - after);
    const kept = this.cutLeft ? bare.slice(bare.length - room) : bare.slice(0, room);
    return [...whole.slice(0, before), ...kept, ...whole.slice(before + bare.length)];
  }
}

/** How many special tokens stand before the text. */
function findFrame(whole, bare) {
  for (let before = 0; before + bare.length <= whole.length; before += 1) {
    if (bare.every((id, place) => id === whole[before + place])) return before;
  }
  throw new Error("the special tokens do not stand around the text");
}
