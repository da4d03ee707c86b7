// What Node runs inside the sandbox: load a program, evaluate an expression, tell its value.
//
// Run as `node harness.mjs` in a process that is isolated and thrown away. A job comes as JSON on
// descriptor 3, up to its end; the answer goes back there as one line of JSON. All of this happens
// beside generated code and so proves nothing but the value that is sent: what was expected never
// comes in. Nothing here is a boundary, `node:vm` least of all; the kernel's layers are. What is
// needed after the program has run is held in constants before, so that a program that patches a
// prototype harms itself alone.

import { readSync, writeSync } from 'node:fs';
import * as modules from 'node:module';
import { types } from 'node:util';
import vm from 'node:vm';

const CHANNEL = 3;
const SOURCE_FILE = 'candidate.js';
const CHECK_FILE = 'check.js';
const MOST_NODES = 100_000;
const MOST_DEPTH = 100;
const MOST_BYTES = 1024 * 1024;
const MOST_TEXT = 400;

const uncurried = (method) => Function.prototype.call.bind(method);
const cut = uncurried(String.prototype.slice);
const exec = uncurried(RegExp.prototype.exec);
const eachOfMap = uncurried(Map.prototype.forEach);
const eachOfSet = uncurried(Set.prototype.forEach);
const exponential = uncurried(Number.prototype.toExponential);
const decimal = uncurried(Number.prototype.toString);
const digits = uncurried(BigInt.prototype.toString);
const lengthOf = uncurried(
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'length').get,
);
const { keys, getPrototypeOf, prototype: PLAIN } = Object;
const { isArray } = Array;
const { isSafeInteger, isFinite: isFiniteNumber } = Number;
const { isProxy, isPromise, isMap, isSet, isTypedArray, isDate, isRegExp } = types;
const { isNativeError, isGeneratorObject } = types;
const { stringify, parse } = JSON;
const { from: bytesOf } = Buffer;
const text = String;
const sleep = Atomics.wait.bind(Atomics, new Int32Array(new SharedArrayBuffer(4)), 0, 0);
const exit = process.reallyExit.bind(process);
const { Script } = vm;

// -- the way in and out ----------------------------------------------------------------------

function patiently(operation) {
  for (;;) {
    try {
      return operation();
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      sleep(1);
    }
  }
}

function readJob() {
  const parts = [];
  const piece = Buffer.alloc(65536);
  for (;;) {
    const count = patiently(() => readSync(CHANNEL, piece));
    if (count === 0) return parse(Buffer.concat(parts).toString());
    parts.push(Buffer.from(piece.subarray(0, count)));
  }
}

let answered = false;

function answer(written) {
  if (answered) return;
  answered = true;
  let bytes = bytesOf(`${written}\n`);
  if (bytes.length > MOST_BYTES) bytes = bytesOf('{"kind":"flood"}\n');
  let sent = 0;
  while (sent < bytes.length) {
    sent += patiently(() => writeSync(CHANNEL, bytes, sent));
  }
  exit(0);
}

// -- a value as JSON -------------------------------------------------------------------------

class Flood {}

// The names of types are those of Python, where the value is compared.
const typeName = (value) => {
  switch (typeof value) {
    case 'undefined': return 'undefined';
    case 'boolean': return 'bool';
    case 'string': return 'str';
    case 'number': return isSafeInteger(value) ? 'int' : 'float';
    case 'bigint': return 'int';
    case 'function': return 'function';
    case 'symbol': return 'symbol';
  }
  if (value === null) return 'NoneType';
  if (isProxy(value)) return 'Proxy';
  if (isArray(value) || isTypedArray(value)) return 'list';
  if (isMap(value)) return 'dict';
  if (isSet(value)) return 'set';
  return isPlain(value) ? 'dict' : className(value);
};

const isPlain = (value) => {
  const prototype = getPrototypeOf(value);
  return prototype === PLAIN || prototype === null;
};

function className(value) {
  try {
    return cut(text(value.constructor.name), 0, 100) || 'object';
  } catch {
    return 'object';
  }
}

// A thing that equals no literal, whatever it holds, is told as a description of itself.
const equalsNothing = (value) =>
  typeof value === 'function' || typeof value === 'symbol' || isDate(value) || isRegExp(value) ||
  isNativeError(value) || isPromise(value) || isGeneratorObject(value);

function valueAnswer(value) {
  const type = typeName(value);
  const plain = equalsNothing(value) ? stringify(`<${type} object>`) : encoder()(value, 0);
  return `{"kind":"value","type":${stringify(type)},"plain":${plain}}`;
}

function encoder() {
  let nodes = 0;
  let size = 0;

  const string = (value) => {
    size += value.length;
    if (size > MOST_BYTES) throw new Flood();
    return stringify(value);
  };
  const list = (name, length, part) => {
    let parts = '';
    for (let i = 0; i < length; i += 1) parts += (i ? ',' : '') + part(i);
    return `{"${name}":[${parts}]}`;
  };
  const object = (value) => {
    const known = typeof value !== 'object' || isProxy(value);
    return `{"object":${stringify(known ? typeName(value) : className(value))}}`;
  };
  const isKey = (value) => value === null || typeof value !== 'object';

  function map(value, depth) {
    let parts = '';
    let fits = true;
    eachOfMap(value, (held, key) => {
      fits &&= isKey(key);
      if (fits) parts += `${parts && ','}[${encode(key, depth)},${encode(held, depth)}]`;
    });
    return fits ? `{"dict":[${parts}]}` : object(value);
  }

  function set(value, depth) {
    let parts = '';
    let fits = true;
    eachOfSet(value, (held) => {
      fits &&= isKey(held);
      if (fits) parts += (parts && ',') + encode(held, depth);
    });
    return fits ? `{"set":[${parts}]}` : object(value);
  }

  function encode(value, depth) {
    nodes += 1;
    if (nodes > MOST_NODES || depth > MOST_DEPTH || size > MOST_BYTES) throw new Flood();
    switch (typeof value) {
      case 'undefined': return 'null';
      case 'boolean': return value ? 'true' : 'false';
      case 'string': return string(value);
      case 'number': return number(value);
      case 'bigint': return `{"int":"${counted(digits(value))}"}`;
      case 'function':
      case 'symbol': return object(value);
    }
    if (value === null) return 'null';
    if (isProxy(value)) return object(value);
    if (isArray(value)) return list('list', value.length, (i) => encode(value[i], depth + 1));
    if (isTypedArray(value)) {
      return list('list', lengthOf(value), (i) => encode(value[i], depth + 1));
    }
    if (isMap(value)) return map(value, depth + 1);
    if (isSet(value)) return set(value, depth + 1);
    if (!isPlain(value)) return object(value);
    const names = keys(value);
    const pair = (i) => `[${string(names[i])},${encode(value[names[i]], depth + 1)}]`;
    return list('dict', names.length, pair);
  }

  const counted = (written) => {
    size += written.length;
    return written;
  };
  return encode;
}

function number(value) {
  if (isSafeInteger(value)) return decimal(value);
  if (isFiniteNumber(value)) return exponential(value);
  return value > 0 ? '{"float":"inf"}' : value < 0 ? '{"float":"-inf"}' : '{"float":"nan"}';
}

// -- an exception as JSON --------------------------------------------------------------------

const PLACE = /at (?:async )?(?:new )?(?:([^\s(]+) .*?\(?)?\(?(candidate|check)\.js:(\d+)(?::\d+)?\)?/;
const SYNTAX = /^\S*?(?:(candidate|check)\.js|javascript[^\n]*):(\d+)\n/;
const MISSING = /(?:Cannot find (?:module|package)|No such built-in module:|specifier) ['"]?([^'"\s]+)/;
const NO_ROOM = /^(?:Array buffer allocation failed|Invalid string length|Invalid array buffer)/;
const NOT_FOUND = new Set([
  'MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND', 'ERR_UNKNOWN_BUILTIN_MODULE',
  'ERR_UNSUPPORTED_RESOLVE_REQUEST', 'ERR_NETWORK_IMPORT_DISALLOWED',
]);
const isNotFound = Set.prototype.has.bind(NOT_FOUND);

const said = (make) => {
  try {
    return cut(text(make()), 0, MOST_TEXT + 1);
  } catch {
    return '';
  }
};

function raisedAnswer(error, job) {
  let name = said(() => error.name ?? typeof error) || 'Error';
  let message = said(() => error.message ?? error);
  const code = said(() => error.code);
  const place = placeOf(error, job);
  let missing = null;
  if (isNotFound(code) || exec(/^Failed to resolve module specifier/, message)) {
    name = 'ModuleNotFoundError';
    missing = exec(MISSING, message)?.[1] ?? '';
    message = `No module ${stringify(missing)}`;
  }
  if (exec(NO_ROOM, message)) name = 'MemoryError';
  const errno = typeof error?.errno === 'number' ? (error.errno < 0 ? -error.errno : error.errno) : null;
  return `{"kind":"raised","name":${stringify(name)},"message":${stringify(message)},` +
    `"line":${place.line},"function":${stringify(place.name)},"in_check":${place.inCheck},` +
    `"depth":1,"errno":${errno},"module":${stringify(missing)}}`;
}

// Where it passed last: in a line of the program, or nowhere but in the check.
function placeOf(error, job) {
  let stack = '';
  try {
    stack = cut(text(error.stack), 0, 16384);
  } catch {
    // an exception that hides where it came from
  }
  const syntax = exec(SYNTAX, stack);
  if (syntax) return { line: inSource(+syntax[2], job), name: null, inCheck: isCheck(syntax, 1, job) };
  let inCheck = false;
  for (let found = exec(PLACE, stack); found; found = exec(PLACE, stack)) {
    if (!isCheck(found, 2, job)) return { line: +found[3], name: found[1] ?? null, inCheck: false };
    inCheck = true;
    stack = cut(stack, found.index + found[0].length);
  }
  return { line: null, name: null, inCheck };
}

// In a module the check stands behind the last line of the program.
const isCheck = (found, group, job) => found[group] === 'check' || +found[group + 1] > job.lines;
const inSource = (line, job) => (line <= job.lines ? line : null);

// -- running ---------------------------------------------------------------------------------

const MODULE = /import statement outside|import declarations|Unexpected token 'export'|await is only valid|'import\.meta'|Unexpected (?:strict mode )?reserved word/;

function javascript(source, language) {
  if (language !== 'typescript') return source;
  const strip = modules.stripTypeScriptTypes;
  if (strip === undefined) {
    throw Object.assign(new Error("Cannot find module 'typescript'"), { code: 'MODULE_NOT_FOUND' });
  }
  process.removeAllListeners('warning'); // that it is experimental
  try {
    return strip(source);
  } catch (error) {
    if (error.code !== 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') throw error;
    return strip(source, { mode: 'transform' });
  }
}

// Numbers that look random and are the same for the same seed.
function seeded(seed) {
  const most = 2147483647;
  let state = (Math.abs(seed) % (most - 1)) + 1;
  const next = () => {
    state = (state * 48271) % most;
    return state;
  };
  for (let i = 0; i < 8; i += 1) next();
  return () => (next() * most + next()) / (most * most + most);
}

const AS_MODULE = `check_${process.hrtime.bigint()}`;

async function asModule(source, check) {
  const appended = check === null ? '' : `\n;export const ${AS_MODULE} = () => (\n${check}\n);`;
  const bytes = Buffer.from(`${source}${appended}\n//# sourceURL=${SOURCE_FILE}`);
  const namespace = await import(`data:text/javascript;base64,${bytes.toString('base64')}`);
  return check === null ? undefined : namespace[AS_MODULE]();
}

async function evaluated(source, check) {
  const options = {
    filename: SOURCE_FILE,
    importModuleDynamically: vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  };
  let script;
  try {
    script = new Script(source, options);
  } catch (error) {
    if (!MODULE.test(error.message)) throw error;
    return asModule(source, check);
  }
  const asked = check && new Script(check, { ...options, filename: CHECK_FILE });
  const plainly = { displayErrors: false }; // else the place is written over the stack
  script.runInThisContext(plainly);
  return asked ? asked.runInThisContext(plainly) : undefined;
}

function prepare(job) {
  const whole = job.expression === null;
  Math.random = seeded(job.seed);
  const own = { exports: {} };
  const require = modules.createRequire('file:///');
  const put = (name, value) =>
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  put('require', require);
  put('module', own);
  put('exports', own.exports);
  if (!whole) return;
  console.assert = (condition, ...words) => {
    if (condition) return;
    const error = new Error(words.length ? text(words[0]) : 'Assertion failed');
    error.name = 'AssertionError';
    throw error;
  };
  // A script ends when nothing is left to do, or when it says so.
  process.on('exit', (status) => status === 0 && answer(valueAnswer(undefined)));
}

async function main() {
  const job = readJob();
  job.lines = job.source.split('\n').length;
  const failed = (error) => answer(raisedAnswer(error, job));
  process.on('uncaughtException', failed);
  process.on('unhandledRejection', failed);
  try {
    const source = javascript(job.source, job.language);
    const check = job.expression === null ? null : javascript(`(${job.expression}\n)`, job.language);
    prepare(job);
    const value = await evaluated(source, check);
    if (check !== null) answer(valueAnswer(value));
  } catch (error) {
    if (error instanceof Flood) answer('{"kind":"flood"}');
    failed(error);
  }
}

await main();
