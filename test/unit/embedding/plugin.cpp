// A part of an embedder that is loaded, used and unloaded, and with it the library.
#include <poll.h>

#include <thread>

#include "microvm/runtime.hpp"

// How many of the things that it did went wrong.
extern "C" __attribute__((visibility("default"))) int use_library(const char* data_dir,
                                                                  const char* tar) {
  auto runtime = microvm::Runtime::open({.data_dir = data_dir, .log = {}, .on_event = {}});
  if (!runtime) return 1;
  int wrong = 0;
  const auto base = runtime->import_base("base", tar, {.disk_bytes = 16u << 20, .progress = {}});
  if (!base) ++wrong;
  if (!runtime->bases()) ++wrong;
  if (runtime->run("nothing")) ++wrong;
  std::thread caller([&] {
    if (runtime->attach("nobody")) ++wrong;
  });
  caller.join();
  return wrong;
}
