#include "subprocess.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

namespace cli {
namespace {

using microvm::Error;
using microvm::ErrorCode;

tl::unexpected<Error> failed(const std::string& what, int err) {
  return tl::unexpected(Error{ErrorCode::io, what + ": " + ::strerrordesc_np(err)});
}

class Actions {
 public:
  Actions() { ::posix_spawn_file_actions_init(&actions_); }
  ~Actions() { ::posix_spawn_file_actions_destroy(&actions_); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  posix_spawn_file_actions_t* operator&() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto got = ::read(fd, buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
    if (got > 0) text.append(buffer.data(), static_cast<size_t>(got));
  }
}

}  // namespace

microvm::Result<std::string> run_program(const std::vector<std::string>& argv,
                                         const std::filesystem::path& directory) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return failed("pipe", errno);
  std::vector<char*> pointers;
  for (const std::string& word : argv) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  Actions actions;
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addchdir_np(&actions, directory.c_str());
  pid_t child = 0;
  const int error =
      ::posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ);
  ::close(pipe[1]);
  std::string output = error == 0 ? read_to_end(pipe[0]) : std::string();
  ::close(pipe[0]);
  if (error != 0) return failed(argv[0], error);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) {
    return tl::unexpected(Error{ErrorCode::io, argv[0] + " failed"});
  }
  return output;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ec;
  if (!path_.empty()) std::filesystem::remove_all(path_, ec);
}

microvm::Result<void> ScratchDirectory::make() {
  std::error_code ec;
  std::string name = (std::filesystem::temp_directory_path(ec) / "microvm-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) return failed(name, errno);
  path_ = name;
  return {};
}

}  // namespace cli
