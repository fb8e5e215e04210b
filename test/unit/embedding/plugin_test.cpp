// The library in a plugin: loaded, used, unloaded, beside another copy of it.
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "host/image/ext4_fixtures.hpp"
#include "unit/embedding/embedding_paths.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;

namespace {

bool is_mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

size_t threads() {
  const std::filesystem::directory_iterator all("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// False with the reason in `why`.
bool use_plugin(const std::string& data_dir, const std::string& tar, std::string& why) {
  void* plugin = ::dlopen(MICROVM_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) {
    why = ::dlerror();
    return false;
  }
  using Use = int(const char*, const char*);
  auto* const use = reinterpret_cast<Use*>(::dlsym(plugin, "use_library"));
  const bool was_mapped = is_mapped("libmicrovm.so");
  const int wrong = use == nullptr ? -1 : use(data_dir.c_str(), tar.c_str());
  if (!was_mapped) why = "the library is not there";
  if (wrong != 0) why = std::to_string(wrong) + " calls failed";
  if (::dlclose(plugin) != 0) why = ::dlerror();
  return why.empty();
}

// What a shell command prints.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  REQUIRE(pipe);
  std::string text;
  for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) {
    text.push_back(static_cast<char>(c));
  }
  return text;
}

}  // namespace

TEST_CASE("plugin: after its last use the library can be unloaded, again and again") {
  const test::TempDir dir;
  const auto tar = test::TarMaker(dir / "root.tar").file("a", "content").done();
  const size_t before = threads();
  for (int round = 0; round < 10; ++round) {
    INFO(round);
    std::string why;
    // In a thread that ends when the library is gone: what it would do then is the library's code.
    std::thread([&] { use_plugin((dir / "data").string(), tar.string(), why); }).join();
    CHECK(why == "");
    CHECK_FALSE(is_mapped("libmicrovm.so"));
    CHECK(threads() == before);
  }
}

TEST_CASE("plugin: the library shows what is its own, and calls that and nobody else's") {
  const std::string library = MICROVM_TEST_LIBRARY;
  const std::string foreign =
      output_of("nm -D --defined-only -C " + library +
                " | grep -vE ' [A-Z] (microvm::|mvm_[a-z_]+(@|$)|MICROVM_[A-Z0-9]+$)'");
  CHECK(foreign == "");
  CHECK(output_of("nm -D --defined-only -C " + library + " | grep -c 'microvm::'") > "1");
  // Through the table that a symbol of the same name elsewhere in the process comes before.
  CHECK(output_of("readelf -rW " + library + " | grep -E 'JUMP_SLO.*(N7microvm|mvm_)'") == "");
  // Those that are unique in a process keep a library loaded.
  CHECK(output_of("readelf -sW " + library + " | grep ' UNIQUE '") == "");
  // A thread's own variables would have to outlive the library.
  CHECK(output_of("readelf -lW " + library + " | grep ' TLS '") == "");
}
