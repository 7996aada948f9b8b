// node llama.mjs MODEL.gguf PROMPTS.json STEPS [GRAMMAR.gbnf]: ids of whole prompts and what llama.cpp writes greedily, as JSON.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [file, prompts, steps, grammarFile] = process.argv.slice(2);
const { getLlama, LlamaCompletion, LlamaGrammar } = await import(pathToFileURL(join(process.env.NODE_MODULES, 'node-llama-cpp/dist/index.js')));
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const grammar = grammarFile ? new LlamaGrammar(llama, { grammar: readFileSync(grammarFile, 'utf8') }) : undefined;
const found = [];
for (const prompt of JSON.parse(readFileSync(prompts, 'utf8'))) {
  const ids = model.tokenize(prompt, true);
  if (model.tokens.shouldPrependBosToken && ids[0] !== model.tokens.bos) ids.unshift(model.tokens.bos);
  const context = await model.createContext({ contextSize: Math.min(model.trainContextSize, 512), threads: 1 });
  let written = [], text = '';
  if (grammar) {
    const completion = new LlamaCompletion({ contextSequence: context.getSequence() });
    text = await completion.generateCompletion(ids, { maxTokens: +steps, temperature: 0, grammar });
  } else {
    for await (const token of context.getSequence().evaluate(ids, { temperature: 0 })) {
      if (model.isEogToken(token) || written.push(token) >= +steps) break;
    }
    text = model.detokenize(written);
  }
  found.push({ ids, written, text });
  await context.dispose();
}
const names = ['bos', 'eos', 'eot'];
console.log(JSON.stringify({ found, tokens: Object.fromEntries(names.map(name => [name, model.tokens[name] ?? null])) }));
process.exit(0);
