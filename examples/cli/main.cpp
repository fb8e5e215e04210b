// microvm: the command line tool over libmicrovm's public headers.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "command.hpp"
#include "options.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "signals.hpp"
#include "standard_streams.hpp"

namespace cli {
namespace {

constexpr std::array kCommands = {
    Command{"doctor", "Check what this host can do, and say what to change", doctor},
    Command{"kernel", "Import, download, list and remove guest kernels", kernel},
    Command{"base", "Import, list and remove root file systems", base},
    Command{"image", "Build, list, pack and remove images", image},
    Command{"run", "Start a microVM from an image", run},
    Command{"ps", "List microVMs", ps},
    Command{"exec", "Run a command in a microVM", exec},
    Command{"shell", "A terminal in a microVM, to come back to", shell},
    Command{"cp", "Copy files between a microVM and this host", cp},
    Command{"logs", "Show what a microVM's command printed", logs},
    Command{"port", "Forward a port of this host to a microVM", port},
    Command{"network", "Show and change what a microVM may reach", network},
    Command{"inspect", "Show everything about a microVM or an image", inspect},
    Command{"suspend", "Put microVMs to sleep", suspend},
    Command{"resume", "Wake suspended microVMs", resume},
    Command{"fork", "Start microVMs from a running one", fork},
    Command{"checkpoint", "Keep, list, run and remove states of microVMs", checkpoint},
    Command{"rollback", "Take a microVM back to a checkpoint", rollback},
    Command{"commit", "Make an image of a microVM or checkpoint", commit},
    Command{"events", "Show what happened to microVMs, and why", events},
    Command{"stats", "Show what microVMs use of this host", stats},
    Command{"wait", "Wait until microVMs have ended", wait},
    Command{"rm", "Remove microVMs", rm},
    Command{"prune", "Free what nothing needs any more", prune},
};

void print_help() {
  fmt::print(
      "Usage: microvm [OPTIONS] COMMAND\n\n"
      "microVMs in milliseconds, from snapshots of initialised apps.\n\nCommands:\n");
  for (const Command& command : kCommands) {
    fmt::print("  {:<10} {}\n", command.name, command.summary);
  }
  fmt::print(
      "\nOptions:\n"
      "      --data-dir DIR  Where kernels, images and microVMs are kept (default:\n"
      "                      $MICROVM_DATA_DIR, else $XDG_DATA_HOME/libmicrovm,\n"
      "                      else ~/.local/share/libmicrovm)\n"
      "  -v, --version       Print the version\n"
      "  -h, --help          Print this help\n\n"
      "MICROVM_TRACE=FILE in the environment (- is standard error) shows each step of a start, up\n"
      "to the end of the first program, with its milliseconds.\n\n"
      "Exit status: 0 success, 1 failure, 2 wrong usage. 'run', 'exec' and 'shell' pass a guest\n"
      "command's own on (128 + signal when a signal ended it) and give 125 when microvm itself\n"
      "failed, or 128 + signal when one came before the command began.\n\n"
      "Run 'microvm COMMAND --help' for more.\n");
}

// Options before the command; what is left is the command and its own arguments.
std::optional<int> global_options(Arguments& arguments, Context& context) {
  while (!arguments.empty() && arguments[0].starts_with('-')) {
    const std::string option = arguments[0];
    arguments.erase(arguments.begin());
    if (option == "-h" || option == "--help") {
      print_help();
      return kOk;
    }
    if (option == "-v" || option == "--version") {
      fmt::print("microvm {}\n", MICROVM_VERSION);
      return kOk;
    }
    if (option.starts_with("--data-dir=")) {
      context.runtime.data_dir = option.substr(option.find('=') + 1);
    } else if (option == "--data-dir" && !arguments.empty()) {
      context.runtime.data_dir = arguments[0];
      arguments.erase(arguments.begin());
    } else {
      print_error("unknown option " + option + " (see microvm --help)");
      return kUsage;
    }
  }
  return std::nullopt;
}

int start(Arguments arguments) {
  static microvm::CancelToken cancel;  // signals outlive the command
  cancel_on_signals(cancel);
  Context context;
  context.cancel = &cancel;
  context.runtime.log = [](std::string_view line) { print_error(line); };
  if (const auto done = global_options(arguments, context)) return *done;
  if (arguments.empty()) {
    print_help();
    return kUsage;
  }
  const auto found = std::ranges::find(kCommands, arguments[0],
                                       [](const Command& command) { return command.name; });
  if (found == kCommands.end()) {
    print_error("no command \"" + arguments[0] + "\" (see microvm --help)");
    return kUsage;
  }
  return found->run(context, {arguments.begin() + 1, arguments.end()});
}

// What a command has printed may still wait in stdio's buffer.
int flush_output(int code) {
  if (std::fflush(stdout) == 0) return code;
  return output_failed(STDOUT_FILENO, errno, code == kOk ? kFailed : code);
}

}  // namespace
}  // namespace cli

int main(int argc, char** argv) {
  cli::open_missing_streams();
  try {
    return cli::flush_output(cli::start({argv + 1, argv + argc}));
  } catch (const std::system_error& error) {  // of a fmt::print that filled the buffer
    if (std::ferror(stdout) == 0) throw;
    return cli::output_failed(STDOUT_FILENO, error.code().value(), cli::kFailed);
  }
}
