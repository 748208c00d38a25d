// A bar on stderr while something takes long. Only on a terminal: logs and pipes get nothing.
#pragma once

#include <chrono>
#include <string>

namespace pagoda::cli {

bool stderr_is_terminal();

class ProgressBar {
 public:
  // enabled: whether the user wants one; on anything but a terminal it stays silent regardless.
  ProgressBar(std::string label, bool enabled);
  ~ProgressBar();  // wipes the bar away
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(double share);  // in [0, 1]
  void clear();

 private:
  std::string label_;
  bool enabled_;
  bool visible_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace pagoda::cli
