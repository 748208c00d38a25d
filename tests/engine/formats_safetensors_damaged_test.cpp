// Damaged Hugging Face folders: safetensors, their index, config.json and tokenizer.json. Each is
// made from a valid folder by a single change and has one right answer.
#include "engine/formats/model_file.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/damaged_case.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

struct DamagedFolder {
  const char* title;
  std::function<void(TinyFolder&)> change;
  ErrorKind kind;
  const char* part;
};

using F = TinyFolder;
using Kind = ErrorKind;
using nlohmann::ordered_json;

constexpr const char* kNorm = "model.norm.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

// Replaces the whole of model.safetensors.
std::function<void(F&)> file(std::string content) {
  return [content](F& f) { f.more["model.safetensors"] = content; };
}

std::function<void(F&)> directory(const std::string& text) {
  return file(safetensors_bytes(text, ""));
}

// Sets a member of the directory's entry of a tensor.
std::function<void(F&)> entry(const char* name, const char* member, ordered_json value) {
  return [=](F& f) { f.directory[name][member] = value; };
}

std::function<void(F&)> config(const char* key, ordered_json value) {
  return [=](F& f) { f.config[key] = value; };
}

std::string nested(int depth) {
  return "{\"a\":" + std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']') + "}";
}

const DamagedFolder kFiles[] = {
    {"no model file", [](F& f) { f.more["model.safetensors"] = ""; }, Kind::kNotFound,
     "holds neither model.safetensors nor model.safetensors.index.json"},
    {"a file of seven bytes", file("1234567"), Kind::kTruncated, "has 7 bytes"},
    {"an absurd directory length", file(raw(uint64_t{1} << 60) + "{}"), Kind::kLimit,
     "claims a directory of 1152921504606846976 bytes, the limit is 16777216"},
    {"a directory beyond the end", file(raw<uint64_t>(100) + "{}"), Kind::kTruncated,
     "claims a directory of 100 bytes and ends after 2"},
    {"an empty directory", file(raw<uint64_t>(0)), Kind::kMalformed,
     "claims a directory of 0 bytes"},
    {"a git lfs pointer", file("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
     Kind::kWrongFileType, "is a Git-LFS pointer"},
    {"a torch archive", file("PK\3\4\x14 archive data.pkl"), Kind::kWrongFileType,
     "is a zip archive"},
    {"a pickle", file("\x80\x02}q(X state X weight"), Kind::kWrongFileType, "is a Python pickle"},
    {"a gguf file", [](F& f) { f.more["model.safetensors"] = tiny_gguf().file(); },
     Kind::kWrongFileType, "is a GGUF file under another name"},
};

const DamagedFolder kDirectories[] = {
    {"no object", directory("[1, 2]"), Kind::kMalformed, "the directory does not begin with '{'"},
    {"no json", directory("{\"a\": }"), Kind::kMalformed, "not valid JSON at byte 7"},
    {"json cut off", directory("{\"a\": {\"dtype\": \"F3"), Kind::kMalformed, "not valid JSON"},
    {"text that is no utf 8", directory("{\"\xff\": 1}"), Kind::kMalformed, "not valid JSON"},
    {"bytes behind the json", directory("{} x"), Kind::kMalformed, "not valid JSON"},
    {"a tensor twice", directory(R"({"a": {}, "a": {}})"), Kind::kMalformed,
     "the key 'a' occurs twice in one JSON object"},
    {"deep json", directory(nested(9)), Kind::kLimit, "nested deeper than 8 levels"},
    {"very deep json", directory(nested(100000)), Kind::kLimit, "nested deeper than 8 levels"},
    {"an entry that is no object", directory(R"({"a": 1})"), Kind::kMalformed,
     "the entry of tensor 'a' does not consist of dtype, shape and data_offsets"},
    {"an entry without offsets", directory(R"({"a": {"dtype": "F32", "shape": [], "x": 1}})"),
     Kind::kMalformed, "does not consist of dtype, shape and data_offsets"},
    {"an entry with more", entry(kNorm, "x", 1), Kind::kMalformed,
     "does not consist of dtype, shape and data_offsets"},
    {"an empty name", [](F& f) { f.directory[""] = f.directory[kNorm]; }, Kind::kMalformed,
     "a tensor has an empty name"},
    {"a long name", [](F& f) { f.directory[std::string(300, 'n')] = f.directory[kNorm]; },
     Kind::kLimit, "has 300 bytes, the limit is 256"},
    {"a dtype that is not read", entry(kNorm, "dtype", "F8_E4M3"), Kind::kUnsupported,
     "has the dtype 'F8_E4M3', which is not read"},
    {"a dtype that is no text", entry(kNorm, "dtype", 7), Kind::kMalformed,
     "the dtype of tensor 'model.norm.weight' is not a string"},
    {"a shape that is no list", entry(kNorm, "shape", 8), Kind::kMalformed, "is not an array"},
    {"a negative dimension", entry(kNorm, "shape", {-8}), Kind::kMalformed,
     "a dimension of tensor 'model.norm.weight' is not a non-negative integer"},
    {"a broken dimension", entry(kNorm, "shape", {8.5}), Kind::kMalformed,
     "is not a non-negative integer"},
    {"an absurd dimension", entry(kNorm, "shape", {uint64_t{1} << 41}), Kind::kLimit,
     "has a dimension of 2199023255552"},
    {"rank 9", entry(kNorm, "shape", {1, 1, 1, 1, 1, 1, 1, 1, 8}), Kind::kLimit, "has rank 9"},
    {"a product that overflows", entry(kNorm, "shape", {uint64_t{1} << 40, uint64_t{1} << 40}),
     Kind::kLimit, "does not fit into 63 bits"},
    {"offsets that descend", entry(kNorm, "data_offsets", {32, 0}), Kind::kMalformed,
     "are not two ascending non-negative integers"},
    {"one offset", entry(kNorm, "data_offsets", {32}), Kind::kMalformed,
     "are not two ascending non-negative integers"},
    {"a negative offset", entry(kNorm, "data_offsets", {-32, 0}), Kind::kMalformed,
     "are not two ascending non-negative integers"},
    {"an offset beyond the end", entry(kNorm, "data_offsets", {1 << 20, (1 << 20) + 32}),
     Kind::kTruncated, "ends at offset 1048608"},
    {"an offset beyond 63 bits", entry(kNorm, "data_offsets", {~uint64_t{0} - 32, ~uint64_t{0}}),
     Kind::kTruncated, "ends at offset 18446744073709551615"},
    {"a span of another size", entry(kNorm, "shape", {7}), Kind::kMalformed,
     "needs 28 bytes and has 32"},
    {"two tensors over each other", entry(kNorm, "data_offsets", {0, 32}), Kind::kMalformed,
     "begins at offset 0, inside 'model.norm.weight'"},
    {"tensors that overlap in part", entry(kNorm, "data_offsets", {8636, 8668}), Kind::kMalformed,
     "begins at offset 8636, inside 'model.embed_tokens.weight'"},
    {"bytes of no tensor", [](F& f) { f.directory.erase(kNorm); }, Kind::kMalformed,
     "32 bytes before tensor 'model.layers.0.input_layernorm.weight' belong to no tensor"},
    {"bytes behind the last", [](F& f) { f.data += "x"; }, Kind::kMalformed,
     "1 bytes after the last tensor belong to no tensor"},
    {"the last tensor cut off", [](F& f) { f.data.pop_back(); }, Kind::kTruncated,
     "tensor 'model.layers.1.mlp.down_proj.weight' ends at offset"},
    {"an unknown tensor",
     [](F& f) {
       f.directory["model.extra.scale"] = {
           {"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {0, 0}}};
     },
     Kind::kUnsupported, "tensor 'model.extra.scale' is none that llama models"},
    {"a tensor of another shape", entry(kEmbedding, "shape", {135, 16}), Kind::kMalformed,
     "'token_embd.weight' has the shape [135, 16], the configuration says [270, 8]"},
};

// Makes two shards and their index, which `change` then damages.
std::function<void(F&)> shards(std::function<void(F&, ordered_json&)> change) {
  return [change](F& f) {
    ordered_json first, second, index;
    std::string data[2];
    for (const auto& [name, tensor] : f.directory.items()) {
      const size_t part = name == kEmbedding ? 0 : 1;
      const size_t begin = tensor["data_offsets"][0], end = tensor["data_offsets"][1];
      ordered_json moved = tensor;
      moved["data_offsets"] = {data[part].size(), data[part].size() + end - begin};
      data[part] += f.data.substr(begin, end - begin);
      (part == 0 ? first : second)[name] = moved;
      index["weight_map"][name] = part == 0 ? "a.safetensors" : "b.safetensors";
    }
    f.more["model.safetensors"] = "";
    f.more["a.safetensors"] = safetensors_bytes(first.dump(), data[0]);
    f.more["b.safetensors"] = safetensors_bytes(second.dump(), data[1]);
    change(f, index);
    f.more["model.safetensors.index.json"] = index.dump();
  };
}

const DamagedFolder kIndices[] = {
    {"an index without a map", shards([](F&, ordered_json& i) {
       i = {{"metadata", 1}};
     }),
     Kind::kMalformed, "has no object 'weight_map'"},
    {"an index that leaves the folder",
     shards([](F&, ordered_json& i) { i["weight_map"][kNorm] = "../b.safetensors"; }),
     Kind::kMalformed, "which is not the name of a file in this folder"},
    {"an index of numbers", shards([](F&, ordered_json& i) { i["weight_map"][kNorm] = 1; }),
     Kind::kMalformed, "the file of tensor 'model.norm.weight' is not a string"},
    {"a missing part", shards([](F& f, ordered_json&) { f.more["b.safetensors"] = ""; }),
     Kind::kNotFound, "there is no file"},
    {"a tensor in another part",
     shards([](F&, ordered_json& i) { i["weight_map"][kNorm] = "a.safetensors"; }),
     Kind::kMalformed, "lies in 'b.safetensors', where the index does not place it"},
    {"a tensor in no part",
     shards([](F&, ordered_json& i) { i["weight_map"]["x"] = "b.safetensors"; }), Kind::kMalformed,
     "lists 21 tensors, its files hold 20"},
};

const DamagedFolder kConfigs[] = {
    {"config that is no json", [](F& f) { f.more["config.json"] = "{"; }, Kind::kMalformed,
     "not valid JSON"},
    {"config that is no object", [](F& f) { f.config = {1}; }, Kind::kMalformed,
     "is not a JSON object"},
    {"no model type", [](F& f) { f.config.erase("model_type"); }, Kind::kUnsupported,
     "has the model_type ''"},
    {"an unknown model type", config("model_type", "gemma3"), Kind::kUnsupported,
     "has the model_type 'gemma3'"},
    {"no hidden size", [](F& f) { f.config.erase("hidden_size"); }, Kind::kNotFound,
     "has no 'hidden_size'"},
    {"a hidden size as a text", config("hidden_size", "8"), Kind::kMalformed,
     "'hidden_size' is not an integer"},
    {"a hidden size beyond 63 bits", config("hidden_size", ~uint64_t{0}), Kind::kMalformed,
     "'hidden_size' is not an integer"},
    {"negative layers", config("num_hidden_layers", -1), Kind::kLimit, "-1 layers"},
    {"another activation", config("hidden_act", "gelu"), Kind::kUnsupported,
     "has the activation 'gelu'"},
    {"biases in feed forward", config("mlp_bias", true), Kind::kUnsupported, "has biases"},
    {"quantised weights", config("quantization_config", {{"bits", 4}}), Kind::kUnsupported,
     "has a quantization_config"},
    {"an unknown rope scaling", config("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2}}),
     Kind::kUnsupported, "has the rope scaling 'dynamic'"},
    {"a rope scaling without factor", config("rope_scaling", {{"rope_type", "linear"}}),
     Kind::kNotFound, "has no 'factor'"},
    {"an unknown kind of layer", config("layer_types", {"full_attention", "linear_attention"}),
     Kind::kUnsupported, "a layer of type 'linear_attention'"},
    {"too few kinds of layers", config("layer_types", {"full_attention"}), Kind::kMalformed,
     "layer_types is not a list with a string for each layer"},
    {"an absurd head", config("head_dim", 1 << 20), Kind::kMalformed, "head_dim is 1048576"},
    {"a rotated part of nothing", config("partial_rotary_factor", 0.0), Kind::kMalformed,
     "partial_rotary_factor is 0"},
    {"an eos that is no id", config("eos_token_id", {2, "x"}), Kind::kMalformed,
     "eos_token_id is not a token id"},
    {"an untied head that is missing", config("tie_word_embeddings", false), Kind::kNotFound,
     "has no tensor 'output.weight'"},
};

const DamagedFolder kTokenizers[] = {
    {"no tokenizer", [](F& f) { f.more["tokenizer.json"] = ""; }, Kind::kNotFound,
     "there is no file"},
    {"a tokenizer without model", [](F& f) { f.tokenizer.erase("model"); }, Kind::kMalformed,
     "has no object 'model'"},
    {"a unigram model", [](F& f) { f.tokenizer["model"]["type"] = "Unigram"; }, Kind::kUnsupported,
     "has a model of the type 'Unigram'"},
    {"a model type that is a number", [](F& f) { f.tokenizer["model"]["type"] = 1; },
     Kind::kMalformed, "a member has the wrong JSON type"},
    {"no vocab", [](F& f) { f.tokenizer["model"].erase("vocab"); }, Kind::kMalformed,
     "has no object 'vocab'"},
    {"a negative id", [](F& f) { f.tokenizer["model"]["vocab"]["a"] = -1; }, Kind::kMalformed,
     "a token id is not an integer from 0"},
    {"an absurd id", [](F& f) { f.tokenizer["model"]["vocab"]["a"] = 1 << 23; }, Kind::kMalformed,
     "the token id 8388608 is far beyond the number of tokens"},
    {"an id twice", [](F& f) { f.tokenizer["model"]["vocab"]["a"] = 5; }, Kind::kMalformed,
     "the token id 5 is given twice"},
    {"no merges", [](F& f) { f.tokenizer["model"].erase("merges"); }, Kind::kMalformed,
     "has no list 'merges'"},
    {"a merge of one piece", [](F& f) { f.tokenizer["model"]["merges"][1] = "ab"; },
     Kind::kMalformed, "merge 1 is not two pieces"},
    {"a merge to no token",
     [](F& f) {
       f.tokenizer["model"]["merges"][1] = {"b", "a"};
     },
     Kind::kMalformed, "merge 1 is not of tokens and to a token"},
    {"an unknown normalizer",
     [](F& f) {
       f.tokenizer["normalizer"] = {{"type", "Lowercase"}};
     },
     Kind::kUnsupported, "the normalizer 'Lowercase'"},
    {"an unknown pre tokenizer",
     [](F& f) {
       f.tokenizer["pre_tokenizer"] = {{"type", "Whitespace"}};
     },
     Kind::kUnsupported, "the pre-tokenizer 'Whitespace'"},
    {"a split that removes",
     [](F& f) {
       f.tokenizer["pre_tokenizer"] = {
           {"type", "Split"}, {"pattern", {{"Regex", "x"}}}, {"behavior", "Removed"}};
     },
     Kind::kUnsupported, "a Split pre-tokenizer is not an isolating regular expression"},
    {"an expression that is none",
     [](F& f) {
       f.tokenizer["model"]["byte_fallback"] = false;
       f.tokenizer["normalizer"] = nullptr;
       const ordered_json split = {
           {"type", "Split"}, {"pattern", {{"Regex", "(x"}}}, {"behavior", "Isolated"}};
       const ordered_json level = {{"type", "ByteLevel"}, {"use_regex", false}};
       f.tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, level}}};
     },
     Kind::kUnsupported, "expression cannot be compiled at its byte 2"},
    {"neither bytes nor fallback",
     [](F& f) {
       f.tokenizer["model"]["byte_fallback"] = false;
       f.tokenizer["normalizer"] = nullptr;
     },
     Kind::kUnsupported, "is neither byte-level nor has it byte_fallback"},
    {"an added token without id", [](F& f) { f.tokenizer["added_tokens"][0].erase("id"); },
     Kind::kMalformed, "an added token does not have an id and a content"},
    {"a template with an unknown token",
     [](F& f) { f.tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"] = "<x>"; },
     Kind::kMalformed, "the post-processor's token '<x>' is not an added token"},
};

std::vector<DamagedFolder> all_cases() {
  std::vector<DamagedFolder> all;
  for (const auto& group : {std::span<const DamagedFolder>(kFiles),
                            {kDirectories},
                            {kIndices},
                            {kConfigs},
                            {kTokenizers}})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}

class DamagedModelFolder : public testing::TestWithParam<DamagedFolder> {};

TEST_P(DamagedModelFolder, IsRefusedWithItsOwnSentence) {
  const std::filesystem::path folder = test_folder("damaged_folder");
  TinyFolder tiny;
  GetParam().change(tiny);
  tiny.write(folder);
  expect_error([&] { Tokenizer::from_model(ModelFile::open(folder)); }, GetParam().kind,
               GetParam().part);
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, DamagedModelFolder, testing::ValuesIn(all_cases()),
                         [](const auto& info) { return test_name_of(info.param.title); });

}  // namespace
}  // namespace pagoda::engine
