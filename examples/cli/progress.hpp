// Progress of a build or an import: a bar on a terminal, plain step lines otherwise.
#pragma once

#include <chrono>
#include <string>

#include "microvm/image.hpp"

namespace cli {

class ProgressPrinter {
 public:
  ProgressPrinter();
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  // Borrows this object.
  [[nodiscard]] microvm::ProgressSink sink();

 private:
  void on_progress(const microvm::Progress& progress);
  void draw_bar(const microvm::Progress& progress);
  void erase_bar();

  bool terminal_;
  bool drawn_ = false;
  std::string step_;
  std::chrono::steady_clock::time_point last_drawn_;
};

}  // namespace cli
