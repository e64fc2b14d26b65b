#include "eval/report_html.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "common/console.h"
#include "eval/figures.h"
#include "eval/heat_map.h"
#include "eval/html.h"
#include "eval/summary.h"
#include "eval/svg_charts.h"

namespace ernie_image {
namespace {

constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--ink:#1d1f24;--soft:#646b78;--paper:#fff;--card:#f4f5f7;--line:#d8dbe1;
--good:#177245;--bad:#b3261e;--c0:#3367d6;--c1:#e8710a;--c2:#188038;--c3:#9334e6;--c4:#d01884;--c5:#129eaf}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--soft:#9aa2b1;--paper:#15171c;--card:#1f2229;--line:#363b46;
--good:#5bb98c;--bad:#f2777a;--c0:#7fa7ff;--c1:#ffb066;--c2:#6fcf8e;--c3:#c99bff;--c4:#ff8ac4;--c5:#6fd8e6}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p.soft,figcaption,.legend{color:var(--soft);font-size:.9rem}
.passed{color:var(--good)}.failed{color:var(--bad)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:1rem 0}nav a{color:inherit;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3rem .4rem;border-bottom:1px solid var(--line)}
td{white-space:nowrap}td:first-child,td[colspan]{white-space:normal;overflow-wrap:anywhere;min-width:7.5rem}
th{font-size:.85rem;vertical-align:bottom;overflow-wrap:normal}
th:first-child,td:first-child{text-align:left}
@media(max-width:62rem){tr:first-child{display:none}table,tbody{display:block}
tr{display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.25rem .75rem;padding:.6rem 0;border-bottom:1px solid var(--line)}
td{border:0;padding:0;text-align:left}td:first-child,td[colspan]{grid-column:1/-1;font-weight:600}
td[data-title]::before{content:attr(data-title);display:block;color:var(--soft);font-size:.8rem}
td:first-child::before{content:none}}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,10rem),1fr));gap:.75rem}
figure{margin:0;padding:.5rem;background:var(--card);border-radius:.5rem}
figure img{width:100%;height:auto;image-rendering:pixelated;display:block}
.scale{height:.6rem;border-radius:.3rem}
svg{display:block;width:100%;max-width:44rem;height:auto;font:15px system-ui,sans-serif;fill:var(--ink)}
.grid{stroke:var(--line);fill:none}.curve{fill:none;stroke-width:2}
.c0{fill:var(--c0);stroke:var(--c0);background:var(--c0)}.c1{fill:var(--c1);stroke:var(--c1);background:var(--c1)}
.c2{fill:var(--c2);stroke:var(--c2);background:var(--c2)}.c3{fill:var(--c3);stroke:var(--c3);background:var(--c3)}
.c4{fill:var(--c4);stroke:var(--c4);background:var(--c4)}.c5{fill:var(--c5);stroke:var(--c5);background:var(--c5)}
path.curve{fill:none}
.legend span{margin-right:1rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.35em}
blockquote{margin:.25rem 0 1rem;padding-left:.75rem;border-left:3px solid var(--line);overflow-wrap:anywhere}
)css";

/// Each with its title, which stands beside it where the window has no room for columns.
class TableRow {
 public:
  explicit TableRow(const std::vector<std::string>& titles) : titles_(titles) {}
  void add(const std::string& text) {
    html_ +=
        "<td data-title=\"" + escape_html(titles_[column_++]) + "\">" + escape_html(text) + "</td>";
  }
  void add_status(bool passed);
  std::string html() const { return "<tr>" + html_ + "</tr>"; }

 private:
  const std::vector<std::string>& titles_;
  std::size_t column_ = 0;
  std::string html_;
};

std::string header_row(const std::vector<std::string>& titles) {
  std::string html = "<tr>";
  for (const std::string& title : titles)
    html += "<th scope=\"col\">" + escape_html(title) + "</th>";
  return html + "</tr>";
}

std::string table(const std::string& rows) { return "<table>" + rows + "</table>"; }

/// The class and content of an element.
std::string status_of(bool passed) {
  return passed ? "class=\"passed\">PASSED" : "class=\"failed\">FAILED";
}

std::string heading(const Evaluation& evaluation) {
  const Request& request = evaluation.settings.request;
  return "<h1>Evaluation of " + escape_html(evaluation.baseline.info.name) + " <span " +
         status_of(evaluation.passed()) + "</span></h1><p class=\"soft\">" + evaluation.created +
         ", ernie-image " + version() + "; " + escape_html(evaluation.machine.cpu) + ", " +
         std::to_string(evaluation.machine.usable_cpus) + " CPUs, " +
         human_bytes(evaluation.machine.memory_bytes) + "; " + std::to_string(request.width_px) +
         "x" + std::to_string(request.height_px) + ", " +
         std::to_string(request.num_inference_steps) + " steps, guidance " +
         figure(request.guidance_scale.value()) + ", seed " +
         std::to_string(request.seeds.front()) + ", baseline " +
         escape_html(evaluation.baseline.configuration.label) + "</p>";
}

void TableRow::add_status(bool passed) {
  html_ += "<td data-title=\"" + escape_html(titles_[column_++]) + "\"><span " + status_of(passed) +
           "</span></td>";
}

/// Of the prompt that has come out worst.
std::string worst_figure(const AccuracyFigure& accuracy, const CandidateRun& candidate) {
  const auto summary = summarize(accuracy, candidate.accuracy);
  return summary ? short_figure(summary->worst) : figure_or_dash({});
}

double nmse_of(const PromptAccuracy& accuracy) { return accuracy.image.nmse_percent; }

/// What has failed altogether comes first, then the farthest from the baseline.
std::vector<const CandidateRun*> worst_first(const std::vector<CandidateRun>& candidates) {
  const auto distance = [](const CandidateRun* candidate) {
    if (!candidate->error.empty()) return std::numeric_limits<double>::infinity();
    double farthest = 0;
    for (const PromptAccuracy& accuracy : candidate->accuracy)
      farthest = std::max(farthest, nmse_of(accuracy));
    return farthest;
  };
  std::vector<const CandidateRun*> sorted;
  for (const CandidateRun& candidate : candidates) sorted.push_back(&candidate);
  std::ranges::stable_sort(sorted, std::greater(), distance);
  return sorted;
}

/// By the candidate that is farthest off; 0 for a prompt that none has drawn.
double distance_of_prompt(const Evaluation& evaluation, std::size_t index) {
  double farthest = 0;
  for (const CandidateRun& candidate : evaluation.candidates) {
    if (index < candidate.accuracy.size())
      farthest = std::max(farthest, nmse_of(candidate.accuracy[index]));
  }
  return farthest;
}

std::vector<std::size_t> prompts_worst_first(const Evaluation& evaluation) {
  std::vector<std::size_t> order(evaluation.prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t index) {
    return distance_of_prompt(evaluation, index);
  });
  return order;
}

std::string prompt_id(std::size_t index) { return "prompt-" + std::to_string(index + 1); }

std::string section_link(const std::string& id, const std::string& text) {
  return "<a href=\"#" + id + "\">" + text + "</a>";
}

std::string index_of(const Evaluation& evaluation) {
  std::string html =
      "<nav>" + section_link("accuracy", "Accuracy") + section_link("seconds", "Seconds");
  for (const std::size_t index : prompts_worst_first(evaluation))
    html += section_link(prompt_id(index), "Prompt " + std::to_string(index + 1));
  return html + "</nav>";
}

std::string accuracy_section(const Evaluation& evaluation) {
  std::vector<std::string> titles = {"candidate", "status", "threshold nMSE %"};
  for (const AccuracyFigure& accuracy : accuracy_figures()) titles.push_back(accuracy.title);
  std::string rows = header_row(titles);
  for (const CandidateRun* candidate : worst_first(evaluation.candidates)) {
    TableRow row(titles);
    row.add(candidate->run.configuration.label);
    row.add_status(candidate->passed());
    row.add(short_figure(candidate->threshold_nmse_percent));
    for (const AccuracyFigure& accuracy : accuracy_figures())
      row.add(worst_figure(accuracy, *candidate));
    rows += row.html();
    if (candidate->error.empty()) continue;
    rows += "<tr><td class=\"failed\" colspan=\"" + std::to_string(titles.size()) + "\">" +
            escape_html(candidate->error) + "</td></tr>";
  }
  return "<h2 id=\"accuracy\">Accuracy against the baseline</h2>" + table(rows) +
         "<p class=\"soft\">Each figure is that of the prompt where it is worst; "
         "eval_report.json has the means and all digits. nMSE is the mean squared error of pixels "
         "in 0..1; |d| counts of 255.</p>";
}

std::string latent_section(const Evaluation& evaluation) {
  std::vector<Series> series;
  for (const CandidateRun* candidate : worst_first(evaluation.candidates)) {
    series.push_back({candidate->run.configuration.label, mean_latent_nmse(candidate->accuracy)});
  }
  const std::string chart = line_chart("Latent error by step", "step", series);
  if (chart.empty()) return "";
  return "<h2>Where they part: nMSE of the latents after each step, %</h2>" + chart;
}

std::vector<const ConfigurationRun*> all_runs(const Evaluation& evaluation) {
  std::vector<const ConfigurationRun*> runs = {&evaluation.baseline};
  for (const CandidateRun* candidate : worst_first(evaluation.candidates))
    runs.push_back(&candidate->run);
  return runs;
}

std::string time_row(const std::vector<std::string>& titles, const ConfigurationRun& run) {
  const Performance& performance = run.performance;
  TableRow row(titles);
  row.add(run.configuration.label);
  row.add(short_figure(performance.load_seconds));
  for (const TimeFigure& time : time_figures())
    row.add(short_figure(summarize(time, performance).median));
  row.add(short_figure(summarize(time_figures().front(), performance).standard_deviation));
  row.add(human_bytes(performance.peak_memory.anonymous_bytes));
  row.add(human_bytes(performance.peak_memory.file_bytes));
  return row.html();
}

/// The stages, and what is left of the whole run, so that bar and table say the same.
Series bar_of(const ConfigurationRun& run) {
  Series bar{run.configuration.label, {}};
  double rest = summarize(time_figures().front(), run.performance).median;
  for (const TimeFigure& time : stage_time_figures()) {
    bar.values.push_back(summarize(time, run.performance).median);
    rest -= bar.values.back();
  }
  bar.values.push_back(rest);
  return bar;
}

std::string time_section(const Evaluation& evaluation) {
  std::vector<std::string> titles = {"configuration", "load"};
  for (const TimeFigure& time : time_figures()) titles.push_back(time.title);
  titles.insert(titles.end(), {"deviation of the total", "memory, own", "memory, mapped"});
  std::string rows = header_row(titles);
  std::vector<Series> bars;
  for (const ConfigurationRun* run : all_runs(evaluation)) {
    if (run->performance.runs.empty()) continue;
    rows += time_row(titles, *run);
    bars.push_back(bar_of(*run));
  }
  std::vector<std::string> parts;
  for (const TimeFigure& time : stage_time_figures()) parts.push_back(time.title);
  parts.emplace_back("other");
  return "<h2 id=\"seconds\">Seconds</h2>" +
         stacked_bars("Seconds of each stage", "s", parts, bars) + table(rows) +
         "<p class=\"soft\">Medians of " + std::to_string(evaluation.settings.runs) +
         " runs after one to warm up. Memory is the peak of the whole process.</p>";
}

std::string picture(const Image& image, const std::string& alt, const std::string& caption) {
  return "<figure>" + embedded_image(image, alt) + "<figcaption>" + caption +
         "</figcaption></figure>";
}

std::string difference_image_html(const PromptAccuracy& accuracy, const std::string& label) {
  return "<figure>" + embedded_image(accuracy.difference, "where " + label + " differs") +
         "<div class=\"scale\" style=\"background:" + kHeatGradient +
         "\"></div><figcaption>difference, 0 to " +
         std::to_string(accuracy.image.max_absolute_difference) + " of 255</figcaption></figure>";
}

std::string short_or_dash(const std::optional<double>& value) {
  return value ? short_figure(*value) : figure_or_dash({});
}

std::string prompt_section(const Evaluation& evaluation, std::size_t index) {
  const EvaluatedPrompt& prompt = evaluation.prompts[index];
  std::string html = "<h2 id=\"" + prompt_id(index) + "\">Prompt " + std::to_string(index + 1) +
                     "</h2><blockquote dir=\"auto\">" + escape_html(prompt.text) + "</blockquote>";
  if (prompt.enhancement)
    html += "<p class=\"soft\">enhanced to</p><blockquote dir=\"auto\">" +
            escape_html(prompt.drawn()) + "</blockquote>";
  const std::string baseline = evaluation.baseline.configuration.label;
  html += "<div class=\"pictures\">" + picture(evaluation.baseline.drawings[index].image,
                                               "baseline " + baseline + ": " + prompt.text,
                                               "baseline " + escape_html(baseline));
  for (const CandidateRun* candidate : worst_first(evaluation.candidates)) {
    if (index >= candidate->accuracy.size()) continue;
    const std::string& label = candidate->run.configuration.label;
    const PromptAccuracy& accuracy = candidate->accuracy[index];
    html += picture(candidate->run.drawings[index].image, label + ": " + prompt.text,
                    escape_html(label) + ": nMSE " + short_figure(accuracy.image.nmse_percent) +
                        " %, PSNR " + short_or_dash(accuracy.image.psnr_db) + " dB, SSIM " +
                        short_or_dash(accuracy.image.ssim)) +
            difference_image_html(accuracy, label);
  }
  return html + "</div>";
}

}  // namespace

std::string report_html(const Evaluation& evaluation) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<link rel=\"icon\" href=\"data:,\"><title>ernie-image evaluation</title><style>";
  html += kStyle;
  html += "</style></head><body>" + heading(evaluation) + index_of(evaluation) +
          accuracy_section(evaluation) + latent_section(evaluation) + time_section(evaluation);
  for (const std::size_t i : prompts_worst_first(evaluation)) html += prompt_section(evaluation, i);
  return html + "</body></html>\n";
}

}  // namespace ernie_image
