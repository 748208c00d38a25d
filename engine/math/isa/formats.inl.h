// A unit's multiply_format for every format of panels. Included inside the namespace of an
// instruction set, behind that function.

using MultiplyFormat = decltype(&multiply_format<PanelFormat::kQ4_0>);

// In the order of PanelFormat.
constexpr MultiplyFormat kMultiply[kNumPanelFormats] = {
    multiply_format<PanelFormat::kQ4_0>, multiply_format<PanelFormat::kQ4_1>,
    multiply_format<PanelFormat::kQ5_0>, multiply_format<PanelFormat::kQ5_1>,
    multiply_format<PanelFormat::kQ8_0>, multiply_format<PanelFormat::kQ4_K>,
    multiply_format<PanelFormat::kQ5_K>, multiply_format<PanelFormat::kQ6_K>};
