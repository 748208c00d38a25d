#include "tools/pagoda/kvmap_svg.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <set>
#include <sstream>

namespace pagoda::cli {
namespace {

constexpr double kMapWidth = 900, kMapHeight = 420;  // user units
constexpr double kLeft = 56, kTop = 64, kRight = 16, kLegendHeight = 64, kAxisHeight = 34;
constexpr int kTicks = 6;

constexpr const char* kFreeColour = "#f4f4f1";
constexpr const char* kCachedColour = "#c4cad2";
constexpr const char* kSharedColour = "#1f2933";

// Hues a golden angle apart, so that neighbours in time are easy to tell; lightness alternates.
std::string owner_colour(uint32_t owner) {
  const double hue = std::fmod(owner * 137.508, 360.0);
  std::ostringstream colour;
  colour << "hsl(" << std::lround(hue) << ",62%," << (owner % 2 == 0 ? 46 : 60) << "%)";
  return colour.str();
}

std::string colour_of(const PageCell& cell) {
  switch (cell.kind) {
    case PageCell::kCached:
      return kCachedColour;
    case PageCell::kShared:
      return kSharedColour;
    case PageCell::kOwned:
      return owner_colour(cell.owner);
    case PageCell::kFree:
      break;
  }
  return kFreeColour;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else
      out += c;
  }
  return out;
}

class Drawing {
 public:
  explicit Drawing(const PageHistory& history)
      : history_(history),
        step_width_(kMapWidth / static_cast<double>(std::max<int64_t>(1, history.num_steps()))),
        page_height_(kMapHeight / static_cast<double>(std::max<int64_t>(1, history.num_pages()))) {
    svg_ << std::fixed << std::setprecision(2);
  }

  std::string draw(const std::string& title, const std::string& subtitle) {
    const double width = kLeft + kMapWidth + kRight;
    const double height = kTop + kMapHeight + kAxisHeight + kLegendHeight;
    svg_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << ' ' << height
         << "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n";
    rectangle(0, 0, width, height, "#ffffff");
    text(kLeft, 26, title, "font-size=\"17\" font-weight=\"bold\"");
    text(kLeft, 46, subtitle, "fill=\"#666\"");
    draw_map();
    draw_axes();
    draw_legend();
    svg_ << "</svg>\n";
    return svg_.str();
  }

 private:
  void rectangle(double x, double y, double width, double height, const std::string& colour) {
    svg_ << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\""
         << height << "\" fill=\"" << colour << "\"/>\n";
  }

  void text(double x, double y, const std::string& words, const std::string& attributes = {}) {
    svg_ << "<text x=\"" << x << "\" y=\"" << y << "\" " << attributes << '>' << escaped(words)
         << "</text>\n";
  }

  // One rectangle for as long as a page stays as it is.
  void draw_map() {
    rectangle(kLeft, kTop, kMapWidth, kMapHeight, kFreeColour);
    svg_ << "<g shape-rendering=\"crispEdges\">\n";
    for (int64_t page = 0; page < history_.num_pages(); page++)
      for (int64_t step = 0, end; step < history_.num_steps(); step = end) {
        const PageCell& cell = history_.at(step, page);
        for (end = step; end < history_.num_steps() && history_.at(end, page) == cell; end++) {
        }
        if (cell.kind == PageCell::kFree) continue;
        rectangle(kLeft + static_cast<double>(step) * step_width_,
                  kTop + static_cast<double>(page) * page_height_,
                  static_cast<double>(end - step) * step_width_, page_height_, colour_of(cell));
      }
    svg_ << "</g>\n";
  }

  void draw_axes() {
    const double bottom = kTop + kMapHeight;
    for (int i = 0; i <= kTicks; i++) {
      const double share = static_cast<double>(i) / kTicks;
      const auto step = std::lround(share * static_cast<double>(history_.num_steps()));
      text(kLeft + share * kMapWidth, bottom + 15, std::to_string(step),
           "text-anchor=\"middle\" fill=\"#666\"");
      const auto page = std::lround(share * static_cast<double>(history_.num_pages() - 1));
      text(kLeft - 6, kTop + (static_cast<double>(page) + 0.5) * page_height_ + 4,
           std::to_string(page + 1), "text-anchor=\"end\" fill=\"#666\"");
    }
    text(kLeft + kMapWidth / 2, bottom + 30, "step", "text-anchor=\"middle\"");
    svg_ << "<text transform=\"translate(14 " << kTop + kMapHeight / 2
         << ") rotate(-90)\" text-anchor=\"middle\">page</text>\n";
  }

  void draw_legend() {
    const double y = kTop + kMapHeight + kAxisHeight + 8;
    double x = kLeft;
    const auto entry = [&](const std::string& colour, const std::string& words, double width) {
      rectangle(x, y, 14, 14, colour);
      text(x + 20, y + 11, words);
      x += width;
    };
    entry(kSharedColour, "shared by several requests", 190);
    entry(kCachedColour, "cached, nobody's", 140);
    entry(kFreeColour, "free", 70);
    x = kLeft;
    text(x, y + 38, "requests");
    x += 64;
    for (uint32_t owner : owners()) {
      if (x > kLeft + kMapWidth - 30) break;
      rectangle(x, y + 27, 14, 14, owner_colour(owner));
      text(x + 17, y + 38, std::to_string(owner));
      x += 42;
    }
  }

  std::set<uint32_t> owners() const {
    std::set<uint32_t> all;
    for (int64_t step = 0; step < history_.num_steps(); step++)
      for (int64_t page = 0; page < history_.num_pages(); page++)
        if (const PageCell& cell = history_.at(step, page); cell.kind == PageCell::kOwned)
          all.insert(cell.owner);
    return all;
  }

  const PageHistory& history_;
  double step_width_, page_height_;
  std::ostringstream svg_;
};

}  // namespace

void PageHistory::note(const Cache& cache, const std::vector<uint64_t>& running) {
  const auto num_pages = static_cast<size_t>(cache.stats(0).num_pages);
  std::vector<PageCell> cells(num_pages);
  for (size_t page = 1; page < num_pages; page++)
    if (cache.page(0, static_cast<int64_t>(page)).state == PAGODA_PAGE_CACHED)
      cells[page].kind = PageCell::kCached;
  for (uint64_t id : running)
    for (int32_t page : cache.page_row(0, id)) {
      PageCell& cell = cells[static_cast<size_t>(page)];
      const bool held = cell.kind == PageCell::kOwned || cell.kind == PageCell::kShared;
      cell = held ? PageCell{.kind = PageCell::kShared}
                  : PageCell{.kind = PageCell::kOwned, .owner = static_cast<uint32_t>(id)};
    }
  cells.erase(cells.begin());  // the null page is nobody's
  steps_.push_back(std::move(cells));
}

std::string draw_page_history(const PageHistory& history, const std::string& title,
                              const std::string& subtitle) {
  return Drawing(history).draw(title, subtitle);
}

}  // namespace pagoda::cli
