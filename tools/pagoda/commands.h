// The commands of the program. Each adds itself to the application with its flags and what to do.
// A failure is an exception whose text is a sentence for the user.
#pragma once

#include <CLI/CLI.hpp>

namespace pagoda::cli {

void add_bench(CLI::App& app);
void add_calibrate(CLI::App& app);
void add_doctor(CLI::App& app);
void add_embed(CLI::App& app);
void add_explain(CLI::App& app);
void add_kvmap(CLI::App& app);
void add_mask(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_pull(CLI::App& app);
void add_run(CLI::App& app);
void add_support(CLI::App& app);
void add_tokenize(CLI::App& app);

}  // namespace pagoda::cli
