// Prints, as JSON, the token ids of a text and its greedy continuation by llama.cpp.
// node greedy.mjs MODEL.gguf TEXT COUNT, beside node_modules with node-llama-cpp.
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const [file, text, count] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: file, useMmap: false});
const context = await model.createContext({contextSize: 64});
const ids = model.tokenize(text);
const first = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
const found = [];
const options = {temperature: 0, yieldEogToken: true};
for await (const token of context.getSequence().evaluate([...first, ...ids], options)) {
  found.push(token);
  if (found.length >= Number(count)) break;
}
console.log(JSON.stringify({first, ids, found}));
process.exit(0);
