// report.html: the evaluation for people, in one file that needs no other and no script.
#pragma once

#include <string>

#include "eval/evaluation.h"

namespace ernie_image {

std::string report_html(const Evaluation& evaluation);

}  // namespace ernie_image
