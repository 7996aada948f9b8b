// node choose.mjs PAGE CASES.json: what the page's own rule answers to each case, as JSON.
import { readFileSync } from 'node:fs';

const [page, file] = process.argv.slice(2);
const html = readFileSync(page, 'utf8');
const source = html.slice(html.indexOf('const LEAST'), html.indexOf('function addRow'));
const choose = new Function('facts', 'logits', source.replace('let facts, tools, model;', '') + 'return choose(logits, softmax(logits));');
const cases = JSON.parse(readFileSync(file, 'utf8'));
console.log(JSON.stringify(cases.map(({ facts, logits }) => choose(facts, logits))));
