// Damaged GGUF files: each is made from a valid one by a single change and has one right answer.
#include "engine/formats/model_file.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/damaged_case.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

struct DamagedGguf {
  const char* title;
  std::function<std::string()> file;
  ErrorKind kind;
  const char* part;
};

// A valid file after `change`.
template <class Change>
std::function<std::string()> changed(Change change) {
  return [change] {
    GgufWriter gguf = tiny_gguf();
    change(gguf);
    return gguf.file();
  };
}

std::function<std::string()> bytes(std::string content) {
  return [content] { return content; };
}

std::string truncated_by(size_t count) {
  std::string file = tiny_gguf().file();
  file.resize(file.size() - count);
  return file;
}

using G = GgufWriter;
using Kind = ErrorKind;

const DamagedGguf kNotGguf[] = {
    {"an empty file", bytes(""), Kind::kTruncated, "is empty"},
    {"another magic", changed([](G& g) { g.magic = "GGUX"; }), Kind::kWrongFileType,
     "does not begin with the letters GGUF"},
    {"a git lfs pointer",
     bytes("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
     Kind::kWrongFileType, "is a Git-LFS pointer"},
    {"a pickle", bytes(std::string("\x80\x04\x95") + std::string(20, '\0')), Kind::kWrongFileType,
     "is a Python pickle"},
    {"a torch archive", bytes("PK\3\4 data.pkl"), Kind::kWrongFileType, "is a zip archive"},
    {"an old ggml file", bytes("lmgg older"), Kind::kWrongFileType, "is a GGML file"},
    {"an old ggjt file", bytes("tjgg older"), Kind::kWrongFileType, "is a GGJT file"},
    {"a gzip file", bytes("\x1f\x8b\x08 packed"), Kind::kWrongFileType, "is gzip-compressed"},
    {"an hdf5 file", bytes("\x89HDF\r\n"), Kind::kWrongFileType, "is an HDF5 file"},
    {"a web page", bytes("<!DOCTYPE html><html>not found"), Kind::kWrongFileType, "is a web page"},
    {"only the magic", bytes("GGUF"), Kind::kTruncated, "the version at byte 4 needs 4 bytes"},
    {"version 1", changed([](G& g) { g.version = 1; }), Kind::kUnsupported, "has GGUF version 1"},
    {"version 4", changed([](G& g) { g.version = 4; }), Kind::kUnsupported, "has GGUF version 4"},
    {"big endian", changed([](G& g) { g.version = 0x03000000; }), Kind::kUnsupported,
     "is a big-endian GGUF file"},
};

const DamagedGguf kMetadata[] = {
    {"absurd number of tensors", changed([](G& g) { g.num_tensors = uint64_t{1} << 63; }),
     Kind::kLimit, "claims 9223372036854775808 tensors, the limit is 65536"},
    {"absurd number of entries", changed([](G& g) { g.num_entries = ~uint64_t{0}; }), Kind::kLimit,
     "metadata entries, the limit is 65536"},
    {"more entries than there are", changed([](G& g) { g.num_entries = 100; }), Kind::kLimit,
     "claims"},
    {"an absurd key length",
     [] {
       std::string file = tiny_gguf().file();
       return file.replace(24, 8, raw(uint64_t{1} << 62));
     },
     Kind::kLimit, "a metadata key at byte 24 claims 4611686018427387904 bytes, the limit is 256"},
    {"an empty key", changed([](G& g) { g.add_u32("", 1); }), Kind::kMalformed,
     "a metadata key is empty"},
    {"a key twice", changed([](G& g) { g.add_u32("llama.block_count", 2); }), Kind::kMalformed,
     "two metadata entries are called 'llama.block_count'"},
    {"an unknown value type", changed([](G& g) { g.add("x", 13, raw(1)); }), Kind::kMalformed,
     "metadata 'x' has value type 13"},
    {"an unknown element type", changed([](G& g) { g.add_array("x", 99, 0, ""); }),
     Kind::kMalformed, "metadata 'x' has value type 99"},
    {"an array of arrays", changed([](G& g) { g.add_array("x", kArray, 1, raw(kU8) + raw(0)); }),
     Kind::kUnsupported, "metadata 'x' is an array of arrays"},
    {"an absurd array length", changed([](G& g) { g.add_array("x", kU64, ~uint64_t{0} / 4, ""); }),
     Kind::kTruncated, "metadata 'x' claims 4611686018427387903 elements"},
    {"an absurd string array", changed([](G& g) { g.add_array("x", kString, 1 << 30, ""); }),
     Kind::kTruncated, "metadata 'x' claims 1073741824 elements"},
    {"an absurd string", changed([](G& g) { g.add("x", kString, raw(uint64_t{1} << 40)); }),
     Kind::kLimit, "claims 1099511627776 bytes, the limit is 1048576"},
    {"a string beyond the end",
     [] {
       G g;
       g.add("x", kString, raw<uint64_t>(100) + "short");
       return g.file();
     },
     Kind::kTruncated, "a metadata string at byte 45 needs 100 bytes, 5 are left"},
    {"a boolean of 2", changed([](G& g) { g.add("x", kBool, "\2"); }), Kind::kMalformed,
     "metadata 'x' is a boolean with the value 2"},
    {"a header above the limit",
     [] {
       G g;
       for (int i = 0; i < 20; ++i)
         g.add_string("x" + std::to_string(i), std::string(1 << 20, 'x'));
       return g.file();
     },
     Kind::kLimit, "the header reaches beyond 16777216 bytes"},
    {"a hostile name in a message", changed([](G& g) { g.add("\x1b[2J\n", kBool, "\3"); }),
     Kind::kMalformed, "metadata '?[2J?' is a boolean"},
    {"alignment zero", changed([](G& g) { g.add_u32("general.alignment", 0); }), Kind::kMalformed,
     "the alignment is 0, not a power of two"},
    {"alignment of 24", changed([](G& g) { g.add_u32("general.alignment", 24); }), Kind::kMalformed,
     "the alignment is 24, not a power of two"},
    {"absurd alignment", changed([](G& g) { g.add_u32("general.alignment", 1u << 31); }),
     Kind::kLimit, "the alignment is 2147483648, the limit is 65536"},
    {"alignment as a text", changed([](G& g) { g.add_string("general.alignment", "32"); }),
     Kind::kMalformed, "general.alignment is not a UINT32"},
};

const DamagedGguf kTensors[] = {
    {"an empty tensor name", changed([](G& g) { g.tensors[0].name = ""; }), Kind::kMalformed,
     "a tensor has an empty name"},
    {"a long tensor name", changed([](G& g) { g.tensors[0].name = std::string(257, 'n'); }),
     Kind::kLimit, "a tensor name at byte"},
    {"a tensor name twice", changed([](G& g) { g.tensors[1].name = g.tensors[0].name; }),
     Kind::kMalformed, "two tensors are called 'token_embd.weight'"},
    {"rank 9", changed([](G& g) { g.tensors[0].dims.assign(9, 1); }), Kind::kLimit,
     "has rank 9, the limit is 8"},
    {"absurd rank", changed([](G& g) { g.tensors[0].dims.assign(9, ~uint64_t{0}); }), Kind::kLimit,
     "has rank 9"},
    {"an absurd dimension", changed([](G& g) { g.tensors[0].dims[1] = (uint64_t{1} << 40) + 1; }),
     Kind::kLimit, "has a dimension of 1099511627777"},
    {"a negative dimension", changed([](G& g) { g.tensors[0].dims[0] = ~uint64_t{0}; }),
     Kind::kLimit, "has a dimension of 18446744073709551615"},
    {"a product that overflows", changed([](G& g) {
       g.tensors[0].dims = {uint64_t{1} << 40, uint64_t{1} << 40};
     }),
     Kind::kLimit, "the size of tensor 'token_embd.weight' does not fit into 63 bits"},
    {"a product that wraps to its true size",
     changed([](G& g) {  // 2^62 * 4 bytes * 1 wraps to zero
       g.tensors[0].dims = {uint64_t{1} << 31, uint64_t{1} << 31};
     }),
     Kind::kLimit, "does not fit into 63 bits"},
    {"an element type that is not read", changed([](G& g) { g.tensors[0].type = 10; }),
     Kind::kUnsupported, "has the element type 10 (Q2_K), which is not read"},
    {"an element type that does not exist",
     changed([](G& g) { g.tensors[0].type = 4'000'000'000; }), Kind::kUnsupported,
     "has the element type 4000000000 (unknown)"},
    {"rows that are not whole groups", changed([](G& g) { g.tensors[0].type = 8; }),
     Kind::kMalformed, "has rows of 8 elements, Q8_0 needs a multiple of 32"},
    {"an offset off the alignment", changed([](G& g) { g.tensors[1].offset = 8641; }),
     Kind::kMalformed, "starts at offset 8641, not a multiple of the alignment 32"},
    {"an offset beyond the end", changed([](G& g) { g.tensors[1].offset = 1 << 20; }),
     Kind::kTruncated, "'output_norm.weight' needs 32 bytes at offset 1048576"},
    {"an offset that overflows", changed([](G& g) { g.tensors[1].offset = ~uint64_t{31}; }),
     Kind::kTruncated, "at offset 18446744073709551584"},
    {"two tensors over each other", changed([](G& g) { g.tensors[1].offset = 0; }),
     Kind::kMalformed, "begins at offset 0, inside 'output_norm.weight'"},
    {"tensors that overlap in part", changed([](G& g) { g.tensors[1].offset = 8608; }),
     Kind::kMalformed, "'output_norm.weight' begins at offset 8608, inside 'token_embd.weight'"},
    {"bytes between tensors", changed([](G& g) { g.tensors[0].data += std::string(64, 'x'); }),
     Kind::kMalformed, "64 bytes before tensor 'output_norm.weight' belong to no tensor"},
    {"bytes behind the last tensor", changed([](G& g) { g.trailing = std::string(32, 'x'); }),
     Kind::kMalformed, "32 bytes after the last tensor belong to no tensor"},
    {"bytes without a tensor", changed([](G& g) {
       g.tensors.clear();
       g.trailing = std::string(100, 'x');
     }),
     Kind::kMalformed, "bytes after its header but no tensor"},
    {"the last tensor cut off", [] { return truncated_by(40); }, Kind::kTruncated,
     "'blk.1.ffn_down.weight' needs 384 bytes"},
    {"all tensor data cut off", [] { return tiny_gguf().header(); }, Kind::kTruncated,
     "before the tensor data at"},
    {"no tensor data",
     [] {
       const std::string header = tiny_gguf().header();
       return header + std::string((32 - header.size() % 32) % 32, '\0');
     },
     Kind::kTruncated, "the file has 0 bytes of tensor data"},
};

const DamagedGguf kConfigurations[] = {
    {"no architecture", changed([](G& g) { g.remove_entry("general.architecture"); }),
     Kind::kNotFound, "has no metadata 'general.architecture'"},
    {"an unknown architecture",
     changed([](G& g) { g.entry("general.architecture").payload = gguf_string("mamba"); }),
     Kind::kUnsupported, "has the architecture 'mamba'"},
    {"no number of layers", changed([](G& g) { g.remove_entry("llama.block_count"); }),
     Kind::kNotFound, "has no metadata 'llama.block_count'"},
    {"a number of layers as a text", changed([](G& g) {
       g.entry("llama.block_count") = {"llama.block_count", kString, gguf_string("2")};
     }),
     Kind::kMalformed, "metadata 'llama.block_count' is of type STRING, not an integer"},
    {"no layers", changed([](G& g) { g.entry("llama.block_count").payload = raw(0); }),
     Kind::kLimit, "0 layers, 1 to 1024 are read"},
    {"absurd number of layers",
     changed([](G& g) { g.entry("llama.block_count").payload = raw(~0u); }), Kind::kLimit,
     "4294967295 layers"},
    {"no heads", changed([](G& g) { g.entry("llama.attention.head_count").payload = raw(0); }),
     Kind::kMalformed, "0 attention heads"},
    {"heads that do not group",
     changed([](G& g) { g.entry("llama.attention.head_count_kv").payload = raw(3); }),
     Kind::kMalformed, "2 heads are not a multiple of 3 key-value heads"},
    {"heads that differ between layers", changed([](G& g) {
       g.remove_entry("llama.attention.head_count");
       g.add_numbers<uint32_t>("llama.attention.head_count", kU32, {2, 4});
     }),
     Kind::kUnsupported, "'llama.attention.head_count' differs between layers"},
    {"keys and values of different size",
     changed([](G& g) { g.add_u32("llama.attention.value_length", 2); }), Kind::kUnsupported,
     "keys of 4 and values of 2 elements per head"},
    {"a context of nothing",
     changed([](G& g) { g.entry("llama.context_length").payload = raw(0); }), Kind::kMalformed,
     "the context length is 0"},
    {"an epsilon that is no number",
     changed([](G& g) { g.entry("llama.attention.layer_norm_rms_epsilon").payload = raw(NAN); }),
     Kind::kMalformed, "the norm epsilon is nan"},
    {"an odd number of rotated dimensions",
     changed([](G& g) { g.entry("llama.rope.dimension_count").payload = raw(3); }),
     Kind::kMalformed, "3 rotated dimensions"},
    {"more rotated dimensions than there are",
     changed([](G& g) { g.entry("llama.rope.dimension_count").payload = raw(6); }),
     Kind::kMalformed, "6 rotated dimensions of head_dim 4"},
    {"a rope base of zero",
     changed([](G& g) { g.entry("llama.rope.freq_base").payload = raw(0.0f); }), Kind::kMalformed,
     "the rope base is 0"},
    {"an unknown rope scaling",
     changed([](G& g) { g.add_string("llama.rope.scaling.type", "longrope"); }), Kind::kUnsupported,
     "has the rope scaling 'longrope'"},
    {"a negative rope factor", changed([](G& g) {
       g.add_string("llama.rope.scaling.type", "linear");
       g.add_f32("llama.rope.scaling.factor", -2);
     }),
     Kind::kMalformed, "the rope scaling factor is -2"},
    {"a negative window",
     changed([](G& g) { g.add("llama.attention.sliding_window", kI32, raw(-5)); }),
     Kind::kMalformed, "a sliding window is -5"},
    {"rope factors of a wrong number", changed([](G& g) {
       g.tensors.push_back(
           {.name = "rope_freqs.weight", .dims = {3}, .type = 0, .data = std::string(12, '?')});
     }),
     Kind::kMalformed, "3 rope frequency factors for 4 rotated dimensions"},
    {"a mixture of experts", changed([](G& g) { g.add_u32("llama.expert_count", 8); }),
     Kind::kUnsupported, "is a mixture of experts"},
    {"a part of a model", changed([](G& g) { g.add("split.count", kU16, raw<uint16_t>(3)); }),
     Kind::kUnsupported, "is one of several parts"},
    {"a vocabulary only", changed([](G& g) { g.tensors.clear(); }), Kind::kNotFound,
     "has no matrix token_embd.weight"},
    {"a missing tensor", changed([](G& g) { g.remove_tensor("blk.1.ffn_up.weight"); }),
     Kind::kNotFound, "has no tensor 'blk.1.ffn_up.weight'"},
    {"a tensor of another shape", changed([](G& g) {
       g.tensor("blk.0.attn_k.weight").dims = {4, 8};
     }),
     Kind::kMalformed, "'blk.0.attn_k.weight' has the shape [8, 4], the configuration says [4, 8]"},
    {"a layer too many", changed([](G& g) { g.entry("llama.block_count").payload = raw(3); }),
     Kind::kNotFound, "has no tensor 'blk.2.attn_norm.weight'"},
    {"a layer too few", changed([](G& g) { g.entry("llama.block_count").payload = raw(1); }),
     Kind::kUnsupported, "tensor 'blk.1.attn_norm.weight' is none that llama models"},
    {"a bias that would be left out", changed([](G& g) {
       g.tensors.push_back(
           {.name = "blk.0.ffn_up.bias", .dims = {12}, .type = 0, .data = std::string(48, '\0')});
     }),
     Kind::kUnsupported, "tensor 'blk.0.ffn_up.bias' is none that llama models"},
    {"half of the biases", changed([](G& g) {
       g.tensors.push_back(
           {.name = "blk.0.attn_q.bias", .dims = {8}, .type = 0, .data = std::string(32, '\0')});
     }),
     Kind::kNotFound, "has no tensor 'blk.0.attn_k.bias'"},
};

const DamagedGguf kVocabularies[] = {
    {"no vocabulary", changed([](G& g) { g.remove_entry("tokenizer.ggml.tokens"); }),
     Kind::kNotFound, "has no vocabulary"},
    {"an unknown kind of tokenizer",
     changed([](G& g) { g.entry("tokenizer.ggml.model").payload = gguf_string("rwkv"); }),
     Kind::kUnsupported, "has a tokenizer of the kind 'rwkv'"},
    {"tokens that are numbers", changed([](G& g) {
       g.remove_entry("tokenizer.ggml.tokens");
       g.add_numbers<float>("tokenizer.ggml.tokens", kF32, {1, 2});
     }),
     Kind::kMalformed, "'tokenizer.ggml.tokens' is an array of FLOAT32, not an array of strings"},
    {"too few token types", changed([](G& g) {
       g.remove_entry("tokenizer.ggml.token_type");
       g.add_numbers<int32_t>("tokenizer.ggml.token_type", kI32, {1, 1});
     }),
     Kind::kMalformed, "has 270 tokens and 2 token types"},
    {"a token type that does not exist", changed([](G& g) {
       g.remove_entry("tokenizer.ggml.token_type");
       g.add_numbers("tokenizer.ggml.token_type", kI32, std::vector<int32_t>(270, 7));
     }),
     Kind::kMalformed, "token 0 has the type 7"},
    {"no scores", changed([](G& g) { g.remove_entry("tokenizer.ggml.scores"); }), Kind::kNotFound,
     "has no scores"},
    {"too few scores", changed([](G& g) {
       g.remove_entry("tokenizer.ggml.scores");
       g.add_numbers<float>("tokenizer.ggml.scores", kF32, {0});
     }),
     Kind::kMalformed, "has 270 tokens and 1 scores"},
    {"a score that is no number", changed([](G& g) {
       g.remove_entry("tokenizer.ggml.scores");
       g.add_numbers("tokenizer.ggml.scores", kF32, std::vector<float>(270, NAN));
     }),
     Kind::kMalformed, "a score of the vocabulary is not a number"},
    {"a byte token that names no byte", changed([](G& g) {
       std::string& tokens = g.entry("tokenizer.ggml.tokens").payload;
       tokens.replace(tokens.find("<0x41>"), 6, "<0xZZ>");
     }),
     Kind::kMalformed, "the byte token '<0xZZ>' does not name a byte"},
    {"a byte level vocabulary without merges", changed([](G& g) {
       g.entry("tokenizer.ggml.model").payload = gguf_string("gpt2");
       g.add_string("tokenizer.ggml.pre", "gpt-2");
     }),
     Kind::kNotFound, "has no merges"},
    {"a byte level vocabulary without pre tokenizer",
     changed([](G& g) { g.entry("tokenizer.ggml.model").payload = gguf_string("gpt2"); }),
     Kind::kUnsupported, "does not name its pre-tokenizer"},
    {"an unknown pre tokenizer", changed([](G& g) {
       g.entry("tokenizer.ggml.model").payload = gguf_string("gpt2");
       g.add_string("tokenizer.ggml.pre", "viking");
       g.add_strings("tokenizer.ggml.merges", {});
     }),
     Kind::kUnsupported, "the pre-tokenizer 'viking' is not known"},
    {"a merge of one piece", changed([](G& g) {
       g.entry("tokenizer.ggml.model").payload = gguf_string("gpt2");
       g.add_string("tokenizer.ggml.pre", "gpt-2");
       g.add_strings("tokenizer.ggml.merges", {"a b", "ab"});
     }),
     Kind::kMalformed, "merge 1 is not two pieces"},
    {"a merge to no token", changed([](G& g) {
       g.entry("tokenizer.ggml.model").payload = gguf_string("gpt2");
       g.add_string("tokenizer.ggml.pre", "gpt-2");
       g.add_strings("tokenizer.ggml.merges", {"b a"});
     }),
     Kind::kMalformed, "merge 0 is not of tokens and to a token"},
};

std::vector<DamagedGguf> all_cases() {
  std::vector<DamagedGguf> all;
  for (const auto& group : {std::span<const DamagedGguf>(kNotGguf),
                            {kMetadata},
                            {kTensors},
                            {kConfigurations},
                            {kVocabularies}})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}

class DamagedGgufFile : public testing::TestWithParam<DamagedGguf> {};

TEST_P(DamagedGgufFile, IsRefusedWithItsOwnSentence) {
  const std::filesystem::path path = test_folder("damaged_gguf") / "model.gguf";
  write_file(path, GetParam().file());
  expect_error([&] { Tokenizer::from_model(ModelFile::open(path)); }, GetParam().kind,
               GetParam().part);
  std::filesystem::remove_all(path.parent_path());
}

INSTANTIATE_TEST_SUITE_P(All, DamagedGgufFile, testing::ValuesIn(all_cases()),
                         [](const auto& info) { return test_name_of(info.param.title); });

}  // namespace
}  // namespace pagoda::engine
