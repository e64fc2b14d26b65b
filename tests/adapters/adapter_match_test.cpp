// Reading adapters: what belongs to which module, and what is wrong with files that are.
#include <gtest/gtest.h>

#include <cmath>

#include "adapters/adapter_match.h"
#include "adapters/weight_rows.h"
#include "io/safetensors.h"
#include "io/test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

Tensor filled(const Shape& shape, float value) {
  Tensor tensor = Tensor::host(DType::f32, shape);
  for (float& element : tensor.span<float>()) element = value;
  return tensor;
}

/// 0, 1/8, 2/8...
Tensor counting(const Shape& shape) {
  Tensor tensor = Tensor::host(DType::f32, shape);
  for (std::int64_t i = 0; i < tensor.size(); ++i)
    tensor.data<float>()[i] = static_cast<float>(i % 7) / 8 - 0.25f;
  return tensor;
}

class AdapterReading : public test::TemporaryFolder {
 protected:
  AdapterReading() {
    using Kind = Module::Kind;
    for (const auto& [name, shape] : {std::pair<std::string, Shape>{"layers.0.mlp.up_proj", {6, 4}},
                                      {"layers.0.self_attention.to_out.0", {4, 4}},
                                      {"x_embedder.proj", {4, 2}}})
      targets_.transformer.add({name, Kind::linear, shape, name == "x_embedder.proj"});
    targets_.transformer.add({"layers.0.adaLN_sa_ln", Kind::vector, {4}, false});
    for (const auto& [name, shape] : {std::pair<std::string, Shape>{"layers.0.mlp.up_proj", {6, 4}},
                                      {"layers.0.self_attn.q_proj", {4, 4}}})
      targets_.text_encoder.add({name, Kind::linear, shape, false});
    targets_.text_encoder.add({"embed_tokens", Kind::embedding, {10, 4}, false});
    targets_.text_encoder.add({"layers.9.self_attn.q_proj", Kind::idle, {}, false});
  }

  AdapterMatch match(const Tensors& tensors,
                     const std::map<std::string, std::string>& metadata = {}) {
    write_safetensors(path("a.safetensors"), tensors, metadata);
    return match_adapter(AdapterFile::open(path("a.safetensors")), targets_);
  }

  void refuses(const Tensors& tensors, const std::vector<std::string>& parts,
               ErrorKind kind = ErrorKind::corrupt_file) {
    expect_error(kind, parts, [&] { match(tensors); });
  }

  static Tensors lora(const std::string& path, std::int64_t outputs, std::int64_t inputs) {
    return {{path + ".lora_A.weight", counting({2, inputs})},
            {path + ".lora_B.weight", counting({outputs, 2})}};
  }

  AdapterTargets targets_;
};

TEST_F(AdapterReading, EveryPrefixLeadsToTheModule) {
  for (const char* prefix :
       {"transformer.", "diffusion_model.", "base_model.model.", "", "model.diffusion_model."}) {
    const AdapterMatch found =
        match(lora(prefix + std::string("layers.0.self_attention.to_out.0"), 4, 4));
    EXPECT_EQ(found.used_keys(), 2u) << prefix;
    EXPECT_TRUE(found.transformer.contains("layers.0.self_attention.to_out.0")) << prefix;
  }
  for (const char* prefix : {"lora_unet_", "lycoris_", "lora_transformer_"}) {
    const AdapterMatch found =
        match(lora(prefix + std::string("layers_0_self_attention_to_out_0"), 4, 4));
    EXPECT_TRUE(found.transformer.contains("layers.0.self_attention.to_out.0")) << prefix;
  }
}

TEST_F(AdapterReading, ModulesOfBothComponentsGoWhereMoreOfTheFileDoes) {
  EXPECT_EQ(match(lora("layers.0.mlp.up_proj", 6, 4)).transformer.size(), 1u);
  Tensors tensors = lora("base_model.model.layers.0.mlp.up_proj", 6, 4);
  for (const auto& tensor : lora("base_model.model.layers.0.self_attn.q_proj", 4, 4))
    tensors.push_back(tensor);
  EXPECT_EQ(match(tensors).text_encoder.size(), 2u);
  const AdapterMatch named = match(lora("text_encoder.layers.0.mlp.up_proj", 6, 4));
  EXPECT_EQ(named.text_encoder.size(), 1u);
  EXPECT_EQ(match(lora("base_model.model.language_model.layers.0.self_attn.q_proj", 4, 4))
                .text_encoder.size(),
            1u);
}

TEST_F(AdapterReading, NamesWhatBelongsToNothing) {
  Tensors tensors = lora("transformer.layers.0.mlp.up_proj", 6, 4);
  tensors.emplace_back("transformer.layers.7.mlp.up_proj.lora_A.weight", counting({2, 4}));
  tensors.emplace_back("layers.0.mlp.up_proj.oft_diag", counting({2, 4}));
  tensors.emplace_back("transformer.layers.0.self_attention.to_out.0.alpha", filled({}, 2));
  const AdapterMatch found = match(tensors);
  EXPECT_EQ(found.keys, 5u);
  EXPECT_EQ(found.used_keys(), 2u);
  EXPECT_EQ(found.unmatched.size(), 3u);
}

TEST_F(AdapterReading, NothingUsedAtAllIsAnError) {
  refuses(lora("transformer.layers.7.mlp.up_proj", 6, 4),
          {"none of its 2 tensors", "layers.7.mlp.up_proj.lora_A", "another"});
}

TEST_F(AdapterReading, ScaleIsAlphaOverRank) {
  const std::string name = "layers.0.mlp.up_proj";
  Tensors tensors = lora(name, 6, 4);
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 1);
  tensors.emplace_back(name + ".alpha", filled({}, 3));
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 1.5);
  tensors.back().second = filled({1}, 3);
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 1.5);
}

TEST_F(AdapterReading, WholeFactorsOfLokrIgnoreAlpha) {
  const std::string name = "layers.0.mlp.up_proj";
  Tensors tensors = {{name + ".lokr_w1", counting({2, 2})},
                     {name + ".lokr_w2", counting({3, 2})},
                     {name + ".alpha", filled({}, 100)}};
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 1);
  tensors[1] = {name + ".lokr_w2_a", counting({3, 5})};
  tensors.emplace_back(name + ".lokr_w2_b", counting({5, 2}));
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 20);
  tensors = {{name + ".lokr_w1_a", counting({2, 4})},
             {name + ".lokr_w1_b", counting({4, 2})},
             {name + ".lokr_w2", counting({3, 2})},
             {name + ".alpha", filled({}, 100)}};
  EXPECT_EQ(match(tensors).transformer.at(name).scale(), 25);
}

TEST_F(AdapterReading, PeftsLokrIsTheException) {
  const std::string name = "layers.0.mlp.up_proj";
  write_safetensors(path("adapter_model.safetensors"),
                    {{"base_model.model." + name + ".lokr_w1", counting({2, 2})},
                     {"base_model.model." + name + ".lokr_w2", counting({3, 2})}});
  write("adapter_config.json", R"({"peft_type": "LOKR", "r": 4, "alpha": 6})");
  const AdapterMatch found = match_adapter(AdapterFile::open(folder_), targets_);
  EXPECT_EQ(found.transformer.at(name).scale(), 1.5);
}

TEST_F(AdapterReading, RsloraDividesByTheRoot) {
  const std::string name = "layers.0.mlp.up_proj";
  write_safetensors(path("adapter_model.safetensors"),
                    {{"base_model.model." + name + ".lora_A.weight", counting({4, 4})},
                     {"base_model.model." + name + ".lora_B.weight", counting({6, 4})}});
  write("adapter_config.json", R"({"lora_alpha": 6, "use_rslora": true, "r": 16})");
  // The tensor's rank counts.
  EXPECT_EQ(match_adapter(AdapterFile::open(folder_), targets_).transformer.at(name).scale(), 3);
}

TEST_F(AdapterReading, MagnitudesOfASquareAreOfRowsUnlessTheShapeSaysColumns) {
  const std::string name = "layers.0.self_attention.to_out.0";
  const auto norm_of = [&](const Shape& shape) {
    Tensors tensors = lora(name, 4, 4);
    tensors.emplace_back(name + ".dora_scale", filled(shape, 1));
    return match(tensors).transformer.at(name).norm();
  };
  EXPECT_EQ(norm_of({4}), AdapterModule::Norm::rows);
  EXPECT_EQ(norm_of({4, 1}), AdapterModule::Norm::rows);
  EXPECT_EQ(norm_of({1, 4}), AdapterModule::Norm::columns);
}

TEST_F(AdapterReading, ConvolutionsOfOnePixelAreMatrices) {
  const AdapterMatch found = match({{"x_embedder.proj.lora_A.weight", counting({1, 2, 1, 1})},
                                    {"x_embedder.proj.lora_B.weight", counting({4, 1, 1, 1})}});
  EXPECT_EQ(found.transformer.at("x_embedder.proj").part(AdapterPart::down)->shape, (Shape{1, 2}));
}

TEST_F(AdapterReading, EmbeddingsBiasesAndNorms) {
  const AdapterMatch found =
      match({{"base_model.model.embed_tokens.lora_embedding_A", counting({2, 10})},
             {"base_model.model.embed_tokens.lora_embedding_B", counting({4, 2})},
             {"transformer.x_embedder.proj.diff_b", counting({4})},
             {"transformer.layers.0.adaLN_sa_ln.diff", counting({4})},
             {"base_model.model.layers.9.self_attn.q_proj.lora_A.weight", counting({2, 3})}});
  EXPECT_EQ(found.used_keys(), 5u);
  EXPECT_EQ(found.text_encoder.at("embed_tokens").kind(), AdapterModule::Kind::table);
  EXPECT_TRUE(found.transformer.at("x_embedder.proj").changes_bias());
  EXPECT_EQ(found.transformer.at("layers.0.adaLN_sa_ln").kind(), AdapterModule::Kind::full);
}

TEST_F(AdapterReading, MisshapenFactorsAreErrorsThatSayWhatWasExpected) {
  const std::string name = "layers.0.mlp.up_proj";
  refuses(lora(name, 6, 5), {"a.safetensors", name, "lora_A", "[2, 5]", "[2, 4]"});
  refuses(lora(name, 7, 4), {name, "lora_B", "[7, 2]", "[6, 2]"});
  refuses({{name + ".lora_A.weight", counting({2, 4})}}, {name, "no second factor"});
  refuses({{name + ".lora_B.weight", counting({6, 2})}}, {name, "no first factor"});
  refuses(
      {{name + ".lora_A.weight", counting({0, 4})}, {name + ".lora_B.weight", counting({6, 0})}},
      {name, "rank 0"});
  refuses(
      {{name + ".lora_A.weight", counting({2, 4, 3})}, {name + ".lora_B.weight", counting({6, 2})}},
      {name, "[2, 4, 3]", "a matrix"});
  refuses({{name + ".lokr_w1", counting({2, 2})}, {name + ".lokr_w2", counting({2, 2})}},
          {name, "Kronecker", "[6, 4]"});
  refuses({{name + ".lokr_w1", counting({2, 2})}}, {name, "no lokr_w2"});
  refuses({{name + ".lokr_w1", counting({2, 2})},
           {name + ".lokr_w1_a", counting({2, 1})},
           {name + ".lokr_w2", counting({3, 2})}},
          {name, "beside factors"});
  refuses({{name + ".hada_w1_a", counting({6, 2})},
           {name + ".hada_w1_b", counting({2, 4})},
           {name + ".hada_w2_a", counting({6, 2})},
           {name + ".hada_w2_b", counting({3, 4})}},
          {name, "hada_w2_b", "[3, 4]", "[2, 4]"});
  refuses({{name + ".diff", counting({4, 6})}}, {name, "[4, 6]", "[6, 4]"});
  refuses({{name + ".diff", counting({6, 4})}, {name + ".set_weight", counting({6, 4})}},
          {name, "expected one"});
  refuses({{name + ".diff_b", counting({5})}}, {name, "[5]", "[6]"});
  refuses({{name + ".dora_scale", counting({6})}}, {name, "no factors"});
  refuses({{name + ".lokr_t2", counting({6})}}, {"lokr_t2", "convolution"}, ErrorKind::unsupported);
  Tensors dora = lora(name, 6, 4);
  dora.emplace_back(name + ".magnitude", counting({4}));
  refuses(dora, {name, "magnitude", "[4]", "[6], [6, 1] or [1, 4]"});
  Tensors alpha = lora(name, 6, 4);
  alpha.emplace_back(name + ".alpha", counting({2}));
  refuses(alpha, {name, "alpha", "[2]", "one number"});
  Tensors mixed = lora(name, 6, 4);
  mixed.emplace_back(name + ".hada_w1_a", counting({6, 2}));
  refuses(mixed, {name, "two kinds"});
  Tensors twice = lora(name, 6, 4);
  twice.emplace_back(name + ".lora_down.weight", counting({2, 4}));
  refuses(twice, {name, "lora_A", "lora_down", "the same factor"});
}

TEST_F(AdapterReading, ValuesThatAreNoNumbersAreErrors) {
  Tensors tensors = lora("layers.0.mlp.up_proj", 6, 4);
  tensors[1].second.data<float>()[3] = std::nanf("");
  refuses(tensors, {"lora_B", "not finite"});
  tensors[1].second = Tensor::host(DType::i64, {6, 2});
  refuses(tensors, {"lora_B", "I64"}, ErrorKind::unsupported);
}

TEST_F(AdapterReading, PicklesAreNeverOpened) {
  write("b.pt", "PK\x03\x04 and so on");
  expect_error(ErrorKind::unsupported, {"b.pt", "pickle"},
               [&] { AdapterFile::open(path("b.pt")); });
  write("c/adapter_model.bin", "PK\x03\x04 and so on");
  expect_error(ErrorKind::unsupported, {"adapter_model.bin", "pickle"},
               [&] { AdapterFile::open(path("c")); });
}

TEST_F(AdapterReading, FoldersNeedOneFile) {
  write("d/readme.txt", "");
  expect_error(ErrorKind::not_found, {"0 safetensors files"},
               [&] { AdapterFile::open(path("d")); });
  expect_error(ErrorKind::not_found, {"there is no such"}, [&] { AdapterFile::open(path("e")); });
}

/// W + strength (V - W) by the formulas, plainly.
TEST_F(AdapterReading, RowsFollowTheFormulas) {
  const std::string name = "layers.0.mlp.up_proj";
  Tensors tensors = {{name + ".lokr_w1", counting({2, 2})},
                     {name + ".lokr_w2_a", counting({3, 1})},
                     {name + ".lokr_w2_b", counting({1, 2})},
                     {name + ".alpha", filled({}, 3)},
                     {name + ".dora_scale", counting({1, 4})}};
  const AdapterMatch found = match(tensors);
  const AdapterModule& module = found.transformer.at(name);
  const Tensor base = filled({6, 4}, 0.5f);
  const Weight weight{name, DType::f32, {6, 4}, base.bytes(), nullptr};
  const std::vector<float> gains = module.gains(weight);
  Tensor merged = filled({6, 4}, 0.5f);
  module.add_rows(0.5, gains, 0, 6, base.data<float>(), merged.data<float>());
  const float* const w1 = tensors[0].second.data<float>();
  const float* const a = tensors[1].second.data<float>();
  const float* const b = tensors[2].second.data<float>();
  for (int k = 0; k < 4; ++k) {
    double square = 0, v[6];
    for (int n = 0; n < 6; ++n) {
      v[n] = 0.5 + 3.0 * w1[n / 3 * 2 + k / 2] * a[n % 3] * b[k % 2];
      square += v[n] * v[n];
    }
    for (int n = 0; n < 6; ++n) {
      const double dora = tensors[4].second.data<float>()[k] * v[n] / std::sqrt(square);
      EXPECT_NEAR(merged.data<float>()[n * 4 + k], 0.5 + 0.5 * (dora - 0.5), 1e-6) << n << " " << k;
    }
  }
}

}  // namespace
}  // namespace ernie_image
