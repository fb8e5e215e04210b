#include "progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "output.hpp"

namespace cli {
namespace {

constexpr size_t kBarCells = 24;
constexpr std::chrono::milliseconds kRedraw{80};

size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) return 80;
  return size.ws_col;
}

}  // namespace

ProgressPrinter::ProgressPrinter() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressPrinter::~ProgressPrinter() {
  erase_bar();
}

microvm::ProgressSink ProgressPrinter::sink() {
  return [this](const microvm::Progress& progress) { on_progress(progress); };
}

void ProgressPrinter::on_progress(const microvm::Progress& progress) {
  if (progress.step != step_) {
    erase_bar();
    step_ = progress.step;
    if (!step_.empty()) say(step_ + "\n");
  }
  if (!progress.output.empty()) {
    erase_bar();
    say(progress.output);
  }
  if (terminal_ && progress.total > 0) draw_bar(progress);
}

void ProgressPrinter::draw_bar(const microvm::Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && now - last_drawn_ < kRedraw && progress.done < progress.total) return;
  last_drawn_ = now;
  drawn_ = true;
  const uint64_t done = std::min(progress.done, progress.total);
  const double share = static_cast<double>(done) / static_cast<double>(progress.total);
  const auto full = static_cast<size_t>(share * kBarCells);
  const std::string bar = std::string(full, '#') + std::string(kBarCells - full, '-');
  std::string line = fmt::format("[{}] {:3.0f}% {}", bar, share * 100, step_);
  line.resize(std::min(line.size(), terminal_columns() - 1));
  say("\r\033[K" + line);
}

void ProgressPrinter::erase_bar() {
  if (!drawn_) return;
  say("\r\033[K");
  drawn_ = false;
}

}  // namespace cli
