// node pipelines.mjs FOLDER TASK DTYPE TEXTS.json: token ids and answers of a pipeline of transformers.js, as JSON.
import { readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, task, dtype, file] = process.argv.slice(2);
const entry = join(process.env.NODE_MODULES, '@huggingface/transformers/dist/transformers.node.mjs');
const { env, pipeline } = await import(pathToFileURL(entry));
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(folder)) + '/';
const texts = JSON.parse(readFileSync(file, 'utf8'));
const model = await pipeline(task, basename(resolve(folder)), { dtype });
const ids = texts.map(text => model.tokenizer([text], { truncation: true }).input_ids.tolist()[0].map(Number));
const options = task === 'text-classification' ? { top_k: null } : { ignore_labels: [] };
const alone = [];
for (const text of texts) alone.push(await model(text, options));
const together = await model(texts, options);
console.log(JSON.stringify({ ids, alone, together }));
