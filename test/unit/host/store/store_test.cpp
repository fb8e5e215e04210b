#include "host/store/store.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>

#include "host/store/digest.hpp"
#include "host/store/files.hpp"
#include "host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

std::string digest_of(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text)));
}

Store open_store(const test::TempDir& dir) {
  auto store = Store::open(dir / "data");
  REQUIRE(store);
  return *store;
}

void add_kernel(const Store& store, const std::string& name, int64_t imported_ms = 1,
                bool virtio_pci = false) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("vmlinux", name));
  const auto digest = digest_of(name);
  KernelManifest manifest{
      {name, digest, name.size()}, imported_ms, {"vmlinux", name.size(), name.size(), digest}, {}};
  manifest.virtio_pci = virtio_pci;
  REQUIRE(store.commit_kernel(std::move(*entry), manifest));
}

std::string add_base(const Store& store, const std::string& name, const std::string& content) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("disk.ext4", content));
  const auto digest = digest_of(content);
  BaseManifest manifest{
      {name, digest, content.size()}, 1, {"disk.ext4", content.size(), content.size(), {}}};
  REQUIRE(store.commit_base(std::move(*entry), manifest));
  return digest;
}

ImageManifest image_manifest(const std::string& name) {
  ImageManifest manifest;
  manifest.info.name = name;
  manifest.info.vcpus = 1;
  manifest.kernel_digest = digest_of("k1");
  manifest.base_digest = digest_of("content");
  manifest.memory = {"memory.raw", 3, 3, {}};
  manifest.state = {"state.bin", 1, 1, digest_of("s")};
  return manifest;
}

Result<ImageManifest> add_image(const Store& store, const std::string& name) {
  auto entry = store.new_entry();
  if (!entry) return base::fail(entry.error());
  if (auto written = entry->write_file("memory.raw", "abc"); !written)
    return base::fail(written.error());
  return store.commit_image(std::move(*entry), image_manifest(name));
}

size_t entries_in_tmp(const Store& store) {
  const auto names = list_dir(store.data_dir() / "tmp");
  REQUIRE(names);
  return static_cast<size_t>(
      std::ranges::count_if(*names, [](const auto& name) { return !name.starts_with('.'); }));
}

// Runs in a child that is killed, as a crash in the middle would.
template <class Body>
void in_killed_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    body();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFSIGNALED(status));
}

}  // namespace

TEST_CASE("store: a new one is private and empty") {
  test::TempDir dir;
  const auto store = open_store(dir);
  struct stat info{};
  REQUIRE(::stat((dir / "data").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
  CHECK(store.images()->items.empty());
  CHECK(store.open_kernel("").error().code == ErrorCode::not_found);
  CHECK(store.open_base("debian").error().code == ErrorCode::not_found);
  CHECK(store.open_image("counter").error().code == ErrorCode::not_found);
  CHECK(store.remove_image("counter").error().code == ErrorCode::not_found);
  CHECK(store.open_image("Bad Name").error().code == ErrorCode::invalid_argument);
}

TEST_CASE("store: a file in the way is an error, not a crash") {
  test::TempDir dir;
  std::ofstream(dir / "data") << "x";
  CHECK_FALSE(Store::open(dir / "data"));
  CHECK_FALSE(Store::open(dir / "data" / "below"));
}

TEST_CASE("store: an entry that is dropped leaves nothing") {
  test::TempDir dir;
  const auto store = open_store(dir);
  {
    auto entry = store.new_entry();
    REQUIRE(entry);
    REQUIRE(entry->write_file("a", "x"));
    CHECK_FALSE(entry->write_file("a", "again"));
    CHECK(entries_in_tmp(store) == 1);
  }
  CHECK(entries_in_tmp(store) == 0);
}

TEST_CASE("store: what a killed process left is collected, what a live one writes is not") {
  test::TempDir dir;
  const auto store = open_store(dir);
  auto mine = store.new_entry();
  REQUIRE(mine);
  in_killed_child([&] {
    auto theirs = store.new_entry();
    if (theirs) [[maybe_unused]]
      auto written = theirs->write_file("half", "x");
    ::raise(SIGKILL);
  });
  CHECK(entries_in_tmp(store) == 2);
  open_store(dir);
  CHECK(entries_in_tmp(store) == 1);
  CHECK(mine->write_file("more", "x"));
}

TEST_CASE("store: kernels are found by name, digest, or as the newest") {
  test::TempDir dir;
  const auto store = open_store(dir);
  add_kernel(store, "k1", 1);
  add_kernel(store, "k2", 2);
  add_kernel(store, "k1", 3);  // the same again changes nothing
  REQUIRE(store.kernels()->items.size() == 2);
  CHECK(store.kernels()->items.front().info.name == "k2");
  CHECK(store.open_kernel("")->manifest.info.name == "k2");
  CHECK(store.open_kernel("k1")->manifest.info.digest == digest_of("k1"));
  CHECK(store.open_kernel(digest_of("k1"))->manifest.info.name == "k1");
  CHECK(entries_in_tmp(store) == 0);
}

TEST_CASE("store: a kernel that an older library imported has its PCI driver by importing again") {
  test::TempDir dir;
  const auto store = open_store(dir);
  const auto has_pci = [&] { return store.open_kernel("k1")->manifest.virtio_pci; };
  add_kernel(store, "k1", 1, false);
  CHECK_FALSE(has_pci());
  add_kernel(store, "k1", 2, true);
  CHECK(has_pci());
  CHECK(store.open_kernel("k1")->manifest.imported_ms == 1);
  add_kernel(store, "k1", 3, false);  // by that library again
  CHECK(has_pci());
}

TEST_CASE("store: a kernel goes only when no image and nobody needs it") {
  test::TempDir dir;
  const auto store = open_store(dir);
  add_kernel(store, "k1");
  REQUIRE(add_image(store, "app"));
  CHECK(store.remove_kernel("k1").error().code == ErrorCode::busy);
  REQUIRE(store.remove_image("app"));
  {
    const auto user = store.open_kernel("k1");
    CHECK(store.remove_kernel("k1").error().code == ErrorCode::busy);
  }
  CHECK(store.remove_kernel("k1"));
  CHECK(store.kernels()->items.empty());
}

TEST_CASE("store: a base name moves to new content and the old goes when unneeded") {
  test::TempDir dir;
  const auto store = open_store(dir);
  const auto first = add_base(store, "debian:12", "content");
  add_base(store, "other/name", "content");
  CHECK(store.bases()->items.size() == 2);
  REQUIRE(add_image(store, "app"));
  const auto second = add_base(store, "debian:12", "newer");
  CHECK(store.open_base("debian:12")->manifest.info.digest == second);
  CHECK(store.open_base("other/name")->manifest.info.digest == first);
  CHECK(store.remove_base("other/name").error().code == ErrorCode::busy);
  REQUIRE(store.remove_image("app"));
  CHECK(store.remove_base("other/name"));
  CHECK(store.open_base(first).error().code == ErrorCode::not_found);
  CHECK(list_dir(store.data_dir() / "bases")->size() == 1);
}

TEST_CASE("store: a bare base name also means its tag latest") {
  test::TempDir dir;
  const auto store = open_store(dir);
  add_base(store, "debian:latest", "content");
  const auto base = store.open_base("debian");
  REQUIRE(base);
  CHECK(base->manifest.info.name == "debian:latest");
}

TEST_CASE("store: a base in use is not removed and keeps its name") {
  test::TempDir dir;
  const auto store = open_store(dir);
  add_base(store, "debian:12", "content");
  {
    const auto user = store.open_base("debian:12");
    CHECK(store.remove_base("debian:12").error().code == ErrorCode::busy);
  }
  CHECK(store.open_base("debian:12"));
  CHECK(store.remove_base("debian:12"));
}

TEST_CASE("store: versions count up and no number is used twice") {
  test::TempDir dir;
  const auto store = open_store(dir);
  CHECK(add_image(store, "app")->info.version == "1");
  CHECK(add_image(store, "app")->info.version == "2");
  CHECK(add_image(store, "app/1")->info.version == "1");  // not below images/app
  CHECK(store.open_image("app")->manifest.info.version == "2");
  CHECK(store.open_image("app:1")->manifest.info.version == "1");
  REQUIRE(store.remove_image("app"));
  CHECK(store.open_image("app")->manifest.info.version == "1");
  CHECK(add_image(store, "app")->info.version == "3");
  CHECK(store.images()->items.size() == 3);
  CHECK(store.open_image("app:2").error().code == ErrorCode::not_found);
}

TEST_CASE("store: commits of many threads all get their own version") {
  test::TempDir dir;
  const auto store = open_store(dir);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 5; ++j) [[maybe_unused]]
        auto added = add_image(store, "app");
    });
  for (auto& thread : threads) thread.join();
  std::set<std::string> versions;
  const auto listing = store.images();
  REQUIRE(listing);
  for (const auto& image : listing->items) versions.insert(image.info.version);
  CHECK(versions.size() == 20);
  CHECK(versions.contains("20"));
}

TEST_CASE("store: an image in use is busy, in another process too") {
  test::TempDir dir;
  const auto store = open_store(dir);
  REQUIRE(add_image(store, "app"));
  auto user = store.open_image("app");
  REQUIRE(user);
  CHECK(store.remove_image("app").error().code == ErrorCode::busy);
  // A worker inherits the lock; the parent's end of it goes.
  int gate[2];
  REQUIRE(::pipe(gate) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::close(gate[1]);
    char byte = 0;
    [[maybe_unused]] const auto got = ::read(gate[0], &byte, 1);
    ::_exit(0);
  }
  user->in_use.reset();
  CHECK(store.remove_image("app").error().code == ErrorCode::busy);
  ::close(gate[1]);
  ::waitpid(pid, nullptr, 0);
  ::close(gate[0]);
  CHECK(store.remove_image("app"));
  CHECK(entries_in_tmp(store) == 0);
}

TEST_CASE("store: a damaged image hides no other and can be removed") {
  test::TempDir dir;
  const auto store = open_store(dir);
  REQUIRE(add_image(store, "bad"));
  REQUIRE(add_image(store, "good"));
  std::ofstream(store.data_dir() / "images/bad/1/manifest.json") << "{";
  const auto listing = store.images();
  REQUIRE(listing);
  CHECK(listing->items.size() == 1);
  CHECK(listing->damaged.size() == 1);
  CHECK(store.open_image("bad").error().code == ErrorCode::corrupt);
  CHECK(store.remove_image("bad"));
  CHECK(store.images()->damaged.empty());
}

TEST_CASE("store: a manifest moved under another name is refused") {
  test::TempDir dir;
  const auto store = open_store(dir);
  REQUIRE(add_image(store, "app"));
  std::filesystem::create_directory(store.data_dir() / "images/other");
  std::filesystem::copy(store.data_dir() / "images/app/1", store.data_dir() / "images/other/1");
  CHECK(store.open_image("other").error().code == ErrorCode::corrupt);
}

TEST_CASE("store: replacing an image's files waits for its users to go") {
  test::TempDir dir;
  const auto store = open_store(dir);
  REQUIRE(add_image(store, "app"));
  const auto replace = [&] {
    auto current = store.open_image("app");
    auto entry = store.new_entry();
    auto manifest = current->manifest;
    manifest.form = ImageForm::packed;
    REQUIRE(entry->link_file(current->path(manifest.memory), "memory.raw"));
    return store.replace_image(std::move(*current), std::move(*entry), manifest);
  };
  {
    const auto user = store.open_image("app");
    CHECK(replace().error().code == ErrorCode::busy);
    CHECK(store.open_image("app")->manifest.form == ImageForm::raw);
  }
  REQUIRE(replace());
  const auto packed = store.open_image("app");
  REQUIRE(packed);
  CHECK(packed->manifest.form == ImageForm::packed);
  CHECK(*read_text_file(packed->path(packed->manifest.memory), 100) == "abc");
  CHECK(entries_in_tmp(store) == 0);
}

TEST_CASE("store: vm directories are made once, listed, removed") {
  test::TempDir dir;
  const auto store = open_store(dir);
  const std::string id = "0123456789ab";
  REQUIRE(store.create_vm_dir(id));
  CHECK(store.create_vm_dir(id).error().code == ErrorCode::already_exists);
  CHECK(store.create_vm_dir("../../../etc").error().code == ErrorCode::invalid_argument);
  CHECK(*store.vm_ids() == std::vector{id});
  REQUIRE(store.remove_vm_dir(id));
  CHECK(store.remove_vm_dir(id).error().code == ErrorCode::not_found);
  CHECK(store.vm_ids()->empty());
}

TEST_CASE("store: a commit killed at any moment leaves whole images only") {
  test::TempDir dir;
  const auto store = open_store(dir);
  for (int delay_us = 0; delay_us < 4000; delay_us += 200) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (;;) [[maybe_unused]]
        auto added = add_image(store, "app");
    }
    ::usleep(static_cast<useconds_t>(delay_us));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  open_store(dir);
  const auto listing = store.images();
  REQUIRE(listing);
  CHECK(listing->damaged.empty());
  for (const auto& image : listing->items) {
    const auto entry = store.open_image("app:" + image.info.version);
    REQUIRE(entry);
    CHECK(*read_text_file(entry->path(image.memory), 9) == "abc");
  }
  CHECK(entries_in_tmp(store) == 0);
}
