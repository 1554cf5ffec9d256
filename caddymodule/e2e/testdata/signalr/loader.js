// Runs CommonJS modules in a browser, as bundlers do. `modules` are functions
// by path below node_modules, `mains` the paths of the packages' main modules.
function load(modules, mains, name) {
  const loaded = {};

  function resolve(from, wanted) {
    const path = wanted.startsWith(".") ? new URL(wanted, "http://x/" + from).pathname.slice(1) : mains[wanted];
    return [path, path + ".js", path + "/index.js"].find((candidate) => candidate in modules);
  }

  function require(from, wanted) {
    const path = resolve(from, wanted);
    if (path === undefined) {
      throw new Error(`${from} requires ${wanted}, which is not installed`);
    }
    if (!(path in loaded)) {
      const module = { exports: {} };
      loaded[path] = module;
      modules[path](module, module.exports, (next) => require(path, next));
    }
    return loaded[path].exports;
  }

  return require("", name);
}
