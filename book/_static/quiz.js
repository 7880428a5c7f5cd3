// Questions at the end of a part: an answer is a fold, which works without this script, too. Here
// it closes the other answers of its question, and the first one opened of each question counts.
document.addEventListener("DOMContentLoaded", () => {
  for (const quiz of document.querySelectorAll(".quiz")) {
    const questions = [...quiz.querySelectorAll("p")], first = new Map();
    const said = document.createElement("p");
    said.setAttribute("role", "status");
    quiz.append(said);
    const answersOf = (question) => {
      const answers = [];
      for (let e = question.nextElementSibling; e?.matches("details"); e = e.nextElementSibling)
        answers.push(e);
      return answers;
    };
    for (const question of questions)
      for (const answer of answersOf(question))
        answer.addEventListener("toggle", () => {
          if (!answer.open) return;
          if (!first.has(question)) first.set(question, "right" in answer.dataset);
          for (const other of answersOf(question)) if (other !== answer) other.open = false;
          const right = [...first.values()].filter(Boolean).length;
          said.textContent = `Right at the first try: ${right} of ${first.size}` +
            (first.size < questions.length ? "." : `. You have answered all.`);
        });
  }
});
