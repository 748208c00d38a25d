// pagoda calibrate: the scales of heads and channels that a quantised cache of a model needs, from
// the largest keys and values that a text brings about.
#include <iostream>

#include "engine/model/kv_scales.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/text_windows.h"

namespace pagoda::cli {
namespace {

struct Flags {
  ModelOptions model;
  TextWindows text;
  std::string out;
};

void calibrate(const Flags& flags) {
  const LoadedModel model = open_model(flags.model.model);
  const std::vector<int32_t> tokens = tokens_of(flags.text, model);
  engine::KvStatistics statistics(model.file.config());
  engine::DecoderOptions options = decoder_options(flags.model, flags.text);
  options.kv = {};  // what is measured is what would be quantised
  options.kv_statistics = &statistics;
  engine::Decoder decoder(model.file, options);
  read_windows(decoder, flags.text, tokens, {});
  engine::save_scales(flags.out, statistics.scales());
  std::cout << "scales of " << model.file.config().layers.size() << " layers from " << tokens.size()
            << " tokens in " << flags.out << "\n";
}

}  // namespace

void add_calibrate(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("calibrate", "measure the scales of a quantised cache over a text");
  const auto flags = std::make_shared<Flags>();
  add_model_options(*command, flags->model);
  add_text_options(*command, flags->text, "--text");
  command->add_option("--out", flags->out, "a safetensors file for --kv-scales")->required();
  command->callback([flags] { calibrate(*flags); });
}

}  // namespace pagoda::cli
