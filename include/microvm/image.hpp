// Kernels, base images and the images that are built on them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"
#include "microvm/hooks.hpp"
#include "microvm/network.hpp"

namespace microvm {

struct KernelInfo {
  std::string name;    // "6.12.117+deb12-cloud-amd64"
  std::string digest;  // sha256 of the vmlinux, hex
  uint64_t size_bytes = 0;
};

// A root file system imported from a tar: what FROM names.
struct BaseInfo {
  std::string name;    // "debian:bookworm"
  std::string digest;  // sha256 of the ext4 file, hex
  uint64_t size_bytes = 0;
};

// What runs when a Vm starts and how, from the Dockerfile's ENV, USER, CMD and so on; the hooks are
// the build's.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::vector<std::string> env;  // "NAME=value"
  std::string workdir = "/";
  std::string user;
  std::vector<uint16_t> exposed_ports;  // TCP
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  Hooks hooks;
};

struct ImageInfo {
  std::string name;     // "counter"
  std::string version;  // "1", "2", …: the newest is what a bare name means
  std::string created;  // RFC 3339, UTC
  std::string base;     // name of the base image
  std::string kernel;   // name of the kernel
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  uint64_t memory_data_bytes = 0;  // of the memory snapshot, not holes
  uint64_t disk_data_bytes = 0;    // of the image's own disk layers
  uint64_t boot_ms = 0;            // cold boot of the build: power-on → agent ready
  // Its command runs in its microVMs, which end with it. False: it has none, or one that had ended
  // with success when the snapshot was to be made; its microVMs live until they are ended.
  bool has_app = true;
  ImageConfig config;
};

// Progress of a long call, on the calling thread or one of the library's, never concurrently.
struct Progress {
  std::string step;    // "STEP 3/7: RUN python3 -m py_compile …"
  uint64_t done = 0;   // in units of total
  uint64_t total = 0;  // 0: not known
  std::string output;  // output of a RUN, raw bytes, when there is some
};
using ProgressSink = std::function<void(const Progress&)>;

inline constexpr uint64_t kDefaultDiskBytes = 8ull << 30;

struct ImportBaseOptions {
  // The root disk as the guest sees it, of this base and of every image on it; the file is sparse.
  // It also bounds how many files there can be: one for each 16 KiB. A multiple of 4096 from 16 MiB
  // to 4 TiB. Error invalid_argument: also when the tar does not fit.
  uint64_t disk_bytes = kDefaultDiskBytes;
  ProgressSink progress;  // done/total in bytes of the tar file
};

// Of packing and unpacking.
struct PackOptions {
  ProgressSink progress;  // done/total in bytes of the memory snapshot
};

struct BuildOptions {
  std::filesystem::path context;     // directory
  std::filesystem::path dockerfile;  // empty: context / "Dockerfile"
  std::string tag;                   // "name" — the version is assigned
  std::map<std::string, std::string> build_args;
  std::string kernel;  // empty: the newest imported one
  uint64_t memory_bytes = 512ull << 20;
  uint32_t vcpus = 1;
  // The app is ready when something listens on this port; 0: the first EXPOSE, or, without one,
  // as soon as the command waits for something. With a ready hook that decides, in its own time.
  // Without port and hooks an image need not have an app (ImageInfo::has_app).
  uint16_t ready_port = 0;
  std::chrono::milliseconds ready_timeout{60'000};
  Hooks hooks;
  // Of RUN, of the app until the snapshot, and of the clone that tries it: by default the internet
  // and nothing of this host or its networks. RUN --network=none has none in any case. Mode tap is
  // not for builds.
  NetworkOptions network;
  // RUN finds the proxy variables of this process (http_proxy, https_proxy, no_proxy, …), as if
  // they had been given as build arguments. One on this host or in a private network also needs a
  // rule that allows it.
  bool host_proxy = false;
  ProgressSink progress;
};

}  // namespace microvm
