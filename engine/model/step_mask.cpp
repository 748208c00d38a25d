#include "engine/model/step_mask.h"

namespace pagoda::engine {
namespace {

Expression expression_of(const MaskText& mask) {
  std::vector<pagoda_name> names;
  for (const auto& [name, value] : mask.names) names.push_back({name.c_str(), PAGODA_NAME_INT, 0});
  Expression expression = Expression::mask(mask.text, names);
  for (const auto& [name, value] : mask.names) expression.set(name, value);
  return expression;
}

}  // namespace

StepMask::StepMask(const MaskText& mask, const MaskOptions& options)
    : expression_(expression_of(mask)), builder_(expression_, options) {}

const pagoda_block_mask& StepMask::build(const Batch& batch) {
  const BlockMask& built = builder_.build(batch);
  const int32_t queries = batch.num_reqs > 0 ? batch.query_start_loc[1] : 0;
  if (queries > most_queries_) {
    most_queries_ = queries;
    draw(batch);
  }
  return built;
}

void StepMask::draw(const Batch& batch) {
  Sized<pagoda_picture_options> options;
  picture_ = builder_.draw(batch, options);
  options.picture = PAGODA_PICTURE_SUMMARY;
  picture_ += builder_.draw(batch, options);
}

}  // namespace pagoda::engine
