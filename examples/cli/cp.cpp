// microvm cp: files between this host and a microVM, with docker cp's rules.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"

namespace cli {
namespace {

namespace fs = std::filesystem;
using microvm::Error;
using microvm::ErrorCode;

struct Side {
  std::string vm;  // empty: this host
  std::string path;
  [[nodiscard]] bool is_stream() const { return vm.empty() && path == "-"; }
  // "dir/" and "dir/." mean a directory, the latter what is in it.
  [[nodiscard]] bool is_content() const { return path == "." || path.ends_with("/."); }
  [[nodiscard]] bool is_marked_directory() const { return path.ends_with('/') || is_content(); }
};

// A path with a colon in its first name is of a microVM; "./a:b" and "/a:b" are not.
Side parse_side(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || text.find('/') < colon) return {"", text};
  const std::string path = text.substr(colon + 1);
  return {text.substr(0, colon), path.starts_with('/') ? path : "/" + path};
}

// Without what marks a directory; of a guest also without "..", as names and not as links.
std::string plain(const Side& side) {
  if (!side.vm.empty()) {
    std::string path = fs::path(side.path).lexically_normal().string();
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    return path;
  }
  std::string path = side.path;
  if (path.ends_with("/.")) path.pop_back();
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

enum class Kind { missing, file, directory };

struct Target {
  std::string directory;
  std::string name;       // empty: the source's own; ".": what is in it
  bool is_named = false;  // by the user: a link that is there is followed
};

Error wrong(std::string message) {
  return {ErrorCode::invalid_argument, std::move(message)};
}

Target as_new_name(const std::string& path) {
  const fs::path target(path);
  const fs::path parent = target.parent_path();
  return {parent.empty() ? "." : parent.string(), target.filename().string(), true};
}

// docker's rules: into a directory that is there, else under the name given.
microvm::Result<Target> choose_target(const Side& from, Kind source, const Side& to, Kind there) {
  const std::string path = plain(to);
  if (source == Kind::file && from.is_marked_directory()) {
    return tl::unexpected(wrong(from.path + ": not a directory"));
  }
  if (there == Kind::directory) {
    return Target{path, source == Kind::directory && from.is_content() ? "." : "", false};
  }
  if (there == Kind::file && (source == Kind::directory || to.is_marked_directory())) {
    return tl::unexpected(wrong(to.path + ": not a directory"));
  }
  if (source == Kind::file && to.is_marked_directory()) {
    return tl::unexpected(Error{ErrorCode::not_found, to.path + ": no such directory"});
  }
  return as_new_name(path);
}

microvm::Result<Kind> kind_here(const std::string& path, bool follow) {
  std::error_code error;
  const auto status = follow ? fs::status(path, error) : fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) return Kind::missing;
  if (error) return tl::unexpected(Error{ErrorCode::io, path + ": " + error.message()});
  return fs::is_directory(status) ? Kind::directory : Kind::file;
}

class Copy {
 public:
  // `tar` gets the source when the target is "-".
  Copy(const Context& context, microvm::Vm vm, const OptionParser& parser, OutputStream& tar)
      : context_(context),
        vm_(std::move(vm)),
        tar_(tar),
        archive_(parser.has("archive")),
        follow_(parser.has("follow-link")) {}

  microvm::Result<microvm::TransferTotals> run(const Side& from, const Side& to) {
    if (from.is_stream()) return from_tar(to);
    if (to.is_stream()) return to_tar(from);
    const bool follow = follow_ || from.is_marked_directory();
    const auto source = kind_of(from, follow);
    if (!source) return tl::unexpected(source.error());
    if (*source == Kind::missing) return tl::unexpected(no_such(from));
    const auto there = kind_of(to, true);
    if (!there) return tl::unexpected(there.error());
    const auto target = choose_target(from, *source, to, *there);
    if (!target) return tl::unexpected(target.error());
    return from.vm.empty() ? upload(from, *target, follow) : download(from, *target, follow);
  }

 private:
  static Error no_such(const Side& side) {
    return {ErrorCode::not_found, side.path + ": no such file or directory"};
  }

  microvm::Result<Kind> kind_of(const Side& side, bool follow) {
    return side.vm.empty() ? kind_here(plain(side), follow) : kind_there(plain(side), follow);
  }

  microvm::Result<Kind> kind_there(const std::string& path, bool follow) {
    const auto info = vm_.stat_file(path, {.follow_link = follow}, context_.limits());
    if (info) return info->type == microvm::FileType::directory ? Kind::directory : Kind::file;
    if (info.error().code == ErrorCode::not_found) return Kind::missing;
    return tl::unexpected(info.error());
  }

  // A copy does not make the directory it goes to.
  microvm::Result<void> check_directory(const std::string& path) {
    const auto kind = kind_there(path, true);
    if (!kind) return tl::unexpected(kind.error());
    if (*kind == Kind::directory) return {};
    if (*kind == Kind::file) return tl::unexpected(wrong(path + ": not a directory"));
    return tl::unexpected(Error{ErrorCode::not_found, path + ": no such directory"});
  }

  microvm::Result<microvm::TransferTotals> upload(const Side& from, const Target& target,
                                                  bool follow) {
    if (auto ok = check_directory(target.directory); !ok) return tl::unexpected(ok.error());
    microvm::UploadOptions options;
    options.name = target.name;
    options.follow_target = target.is_named;
    options.follow_link = follow;
    options.keep_owner = archive_;
    return vm_.upload(plain(from), target.directory, options, context_.limits());
  }

  microvm::Result<microvm::TransferTotals> download(const Side& from, const Target& target,
                                                    bool follow) {
    microvm::DownloadOptions options;
    options.name = target.name;
    options.follow_target = target.is_named;
    options.follow_link = follow;
    options.keep_owner = archive_;
    return vm_.download(plain(from), target.directory, options, context_.limits());
  }

  microvm::Result<microvm::TransferTotals> to_tar(const Side& from) {
    microvm::DownloadOptions options;
    options.name = from.is_content() ? "." : "";
    options.follow_link = follow_ || from.is_marked_directory();
    return vm_.download_tar(
        plain(from), [this](std::span<const std::byte> bytes) { return write_tar(bytes); }, options,
        context_.limits());
  }

  microvm::Result<microvm::TransferTotals> from_tar(const Side& to) {
    if (auto ok = check_directory(plain(to)); !ok) return tl::unexpected(ok.error());
    microvm::UploadOptions options;
    options.keep_owner = archive_;
    return vm_.upload_tar([this](std::span<std::byte> out) { return read_stdin(out); }, plain(to),
                          options, context_.limits());
  }

  microvm::Result<void> write_tar(std::span<const std::byte> bytes) {
    if (tar_.write(bytes)) return {};
    return tl::unexpected(Error{ErrorCode::io, "standard output takes no more"});
  }

  microvm::Result<size_t> read_stdin(std::span<std::byte> out) {
    for (;;) {
      const auto got = ::read(STDIN_FILENO, out.data(), out.size());
      if (got >= 0) return static_cast<size_t>(got);
      if (context_.cancel->cancelled())
        return tl::unexpected(Error{ErrorCode::cancelled, "copy files: cancelled"});
      if (errno != EINTR)
        return tl::unexpected(
            Error{ErrorCode::io, std::string("standard input: ") + ::strerrordesc_np(errno)});
    }
  }

  const Context& context_;
  microvm::Vm vm_;
  OutputStream& tar_;
  bool archive_;
  bool follow_;
};

}  // namespace

int cp(const Context& context, const Arguments& arguments) {
  OptionParser parser(
      "cp", "[-a] [-L] [-q] ID:PATH PATH|- | PATH|- ID:PATH",
      "Copy files between a microVM and this host.",
      "As docker cp: a directory that is there takes the source into it, else the\n"
      "copy gets the name given, and what a link of that name leads to is written.\n"
      "SOURCE/. is what is in the directory. '-' is a tar on standard input or output.\n"
      "Holes and hard links are kept. Devices, fifos and sockets below a directory are\n"
      "left out. A microVM that is suspended meanwhile is woken, and the copy begun\n"
      "again; not so a tar on standard input or output that was begun.");
  parser.flag("a,archive", "Keep the owners, by number")
      .flag("L,follow-link", "When the source is a link, copy what it leads to")
      .flag("q,quiet", "Print nothing when it worked");
  parser.words(2, 2);
  if (!parser.parse(arguments)) return parser.exit_code();
  const Side from = parse_side(parser.found_words()[0]);
  const Side to = parse_side(parser.found_words()[1]);
  if (from.vm.empty() == to.vm.empty())
    return parser.wrong("one of the two has to be a path in a microVM, ID:PATH");
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vm = runtime->attach(from.vm.empty() ? to.vm : from.vm);
  if (!vm) return fail(vm.error());
  OutputStream tar(STDOUT_FILENO);
  const auto totals = Copy(context, *vm, parser, tar).run(from, to);
  if (tar.failed()) return tar.give_up(kFailed);
  if (!totals) return fail(totals.error());
  if (parser.has("quiet")) return kOk;
  say(fmt::format("copied {} entries, {}\n", totals->entries, human_size(totals->bytes)));
  if (totals->skipped > 0)
    print_error(fmt::format("{} devices, fifos or sockets were left out", totals->skipped));
  return kOk;
}

}  // namespace cli
