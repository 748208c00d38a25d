#include "tools/pagoda/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>

namespace pagoda::cli {
namespace {

constexpr int kWidth = 30;  // characters
constexpr std::chrono::milliseconds kDelay{300}, kInterval{60};

}  // namespace

bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) == 1;
}

ProgressBar::ProgressBar(std::string label, bool enabled)
    : label_(std::move(label)),
      enabled_(enabled && stderr_is_terminal()),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

ProgressBar::~ProgressBar() {
  clear();
}

// What is done within the delay shows no bar, and a bar is not drawn more often than one sees.
void ProgressBar::show(double share) {
  const auto now = std::chrono::steady_clock::now();
  if (!enabled_ || now - start_ < kDelay || now - last_ < kInterval) return;
  last_ = now;
  visible_ = true;
  const double clamped = std::clamp(share, 0.0, 1.0);
  const int full = static_cast<int>(std::lround(clamped * kWidth));
  std::string bar;
  for (int i = 0; i < kWidth; i++) bar += i < full ? "\u2588" : "\u2591";
  std::cerr << '\r' << label_ << ' ' << bar << ' ' << std::lround(clamped * 100) << "% "
            << std::flush;
}

void ProgressBar::clear() {
  if (visible_) std::cerr << "\r\x1b[K" << std::flush;
  visible_ = false;
}

}  // namespace pagoda::cli
