#include "eval/metrics.h"

#include <nlohmann/json.hpp>

#include "eval/figures.h"

namespace ernie_image {

nlohmann::json to_json(const ImageMetrics& metrics) {
  return {{"nmse_percent", metrics.nmse_percent},
          {"psnr_db", json_or_null(metrics.psnr_db)},
          {"ssim", json_or_null(metrics.ssim)},
          {"ms_ssim", json_or_null(metrics.ms_ssim)},
          {"ms_ssim_scales", metrics.ms_ssim_scales},
          {"mean_absolute_difference", metrics.mean_absolute_difference},
          {"max_absolute_difference", metrics.max_absolute_difference}};
}

std::string to_text(const ImageMetrics& metrics) {
  const std::string psnr = metrics.psnr_db ? figure(*metrics.psnr_db) + " dB" : "infinite (equal)";
  const std::string ms_ssim =
      metrics.ms_ssim
          ? figure(*metrics.ms_ssim) + " (" + std::to_string(metrics.ms_ssim_scales) + " scales)"
          : "none (a side below 11 pixels)";
  return "nMSE      " + figure(metrics.nmse_percent) + " %\nPSNR      " + psnr + "\nSSIM      " +
         (metrics.ssim ? figure(*metrics.ssim) : "none (a side below 7 pixels)") + "\nMS-SSIM   " +
         ms_ssim + "\nmean |d|  " + figure(metrics.mean_absolute_difference) +
         " of 255\nmax |d|   " + std::to_string(metrics.max_absolute_difference) + " of 255\n";
}

}  // namespace ernie_image
