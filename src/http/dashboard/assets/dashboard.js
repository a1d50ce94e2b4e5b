// Adds to pages that work without it: live progress, progress of uploads, buttons that copy, times that move on.
"use strict";
(() => {
  const LOOK_AGAIN_MS = 1500;
  const REFRESH_DELAY_MS = 150;
  const STREAM_LOOK_MS = 10_000; // what a stream might have missed

  const copyButtons = (root) => {
    if (!navigator.clipboard) return;
    for (const button of root.querySelectorAll("button.copy")) button.hidden = false;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // The same words as the server's.
  const relative = (at) => {
    const seconds = Math.trunc((Date.now() - at) / 1000);
    const ahead = -seconds;
    const size = seconds >= 0 ? seconds : ahead + (ahead < 60 ? 0 : ahead < 3570 ? 30 : ahead < 84600 ? 1800 : 43200);
    if (size < 5) return "just now";
    const [number, unit] = size < 60 ? [size, "second"] : size < 3600 ? [Math.trunc(size / 60), "minute"]
      : size < 86400 ? [Math.trunc(size / 3600), "hour"] : [Math.trunc(size / 86400), "day"];
    const words = `${number} ${unit}${number === 1 ? "" : "s"}`;
    return seconds < 0 ? `in ${words}` : `${words} ago`;
  };
  setInterval(() => {
    for (const time of document.querySelectorAll("time[datetime]:not([data-fixed])")) {
      const words = relative(Date.parse(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
    }
  }, 10_000);

  // Puts another version of this page's content in place, and leaves alone what a person holds open or types into.
  const replaceMain = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    const main = document.querySelector("main");
    if (!next || !main) return;
    const open = [...main.querySelectorAll("details")].map((one) => one.open);
    [...next.querySelectorAll("details")].forEach((one, place) => { one.open = one.open || Boolean(open[place]); });
    const log = main.querySelector(".log");
    const atEnd = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    main.replaceWith(document.adoptNode(next));
    const newLog = next.querySelector(".log");
    if (newLog && atEnd) newLog.scrollTop = newLog.scrollHeight;
    start(next);
  };

  const isBusy = (main) => {
    const active = document.activeElement;
    const types = active && main.contains(active) && active.matches("input, select, textarea");
    const filled = [...main.querySelectorAll("input[type=file]")].some((input) => input.files.length > 0);
    return types || filled || document.querySelector(".sending:not([hidden])") !== null;
  };

  // Looks at the page again after a while; who asks for sooner gets it sooner.
  let timer = null;
  let due = Infinity;
  const refresh = (delay) => {
    const at = performance.now() + delay;
    if (at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(look, delay);
  };
  const look = async () => {
    due = Infinity;
    const main = document.querySelector("main");
    if (!main || !main.hasAttribute("data-live")) return;
    if (document.hidden || isBusy(main)) return refresh(LOOK_AGAIN_MS);
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok && !isBusy(main)) return replaceMain(await answer.text());
    } catch {
      // the server is away: look again
    }
    refresh(LOOK_AGAIN_MS);
  };

  // A job's progress by its event stream; without one the page is looked at again and again.
  let stream = null;
  let streamOf = null;
  const showProgress = (section, progress) => {
    const bar = section.querySelector("progress");
    const { done, total, unit } = progress;
    if (!bar || !(total > 0)) return;
    bar.value = Math.min(1, done / total);
    section.querySelector(".told").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} ${unit ?? ""}`;
  };
  const closeStream = () => {
    if (stream) stream.close();
    stream = streamOf = null;
  };
  const watch = (section) => {
    if (streamOf === section.dataset.job) return;
    closeStream();
    streamOf = section.dataset.job;
    stream = new EventSource(section.dataset.stream);
    stream.addEventListener("progress", (event) => {
      const now = document.querySelector("[data-job]");
      const said = read(event.data);
      if (now && said) showProgress(now, said.body ?? said.progress ?? said);
    });
    for (const name of ["phase", "state", "note"]) stream.addEventListener(name, () => refresh(REFRESH_DELAY_MS));
    stream.onerror = () => {
      if (stream && stream.readyState === EventSource.CLOSED) { stream = null; refresh(LOOK_AGAIN_MS); }
    };
  };
  const read = (text) => {
    try { return JSON.parse(text); } catch { return null; }
  };

  // Uploads: the same form, with a bar.
  const kilo = (bytes) => bytes < 999_500 ? `${Math.round(bytes / 1e3)} kB`
    : bytes < 999.5e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
  const send = (form) => {
    const request = new XMLHttpRequest();
    const sending = form.querySelector(".sending");
    const [bar, told, button] = [sending.querySelector("progress"), sending.querySelector(".sent"), form.querySelector("button[type=submit]")];
    const begun = performance.now();
    const finish = (text) => { button.disabled = false; told.textContent = text; };
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      bar.value = event.loaded / event.total;
      const speed = event.loaded / Math.max(0.001, (performance.now() - begun) / 1000);
      told.textContent = event.loaded < event.total
        ? `${kilo(event.loaded)} of ${kilo(event.total)}, ${kilo(speed)} a second` : "Sent; it is being stored.";
    };
    request.onload = () => {
      if (request.responseURL && new URL(request.responseURL).pathname !== new URL(form.action).pathname) {
        location.assign(request.responseURL);
        return;
      }
      sending.hidden = true;
      finish("");
      const typed = form.querySelector("#name").value;
      replaceMain(request.responseText);
      const name = document.querySelector("form[data-upload] #name");
      if (name) name.value = typed;
      document.querySelector("[role=alert]")?.scrollIntoView({ block: "center" });
    };
    request.onerror = () => finish("The connection broke: nothing was kept. Try again.");
    sending.hidden = false;
    button.disabled = true;
    request.open("POST", form.action);
    request.setRequestHeader("accept", "text/html");
    request.send(new FormData(form));
  };
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-upload]")) return;
    event.preventDefault();
    send(event.target);
  });

  const start = (main) => {
    copyButtons(main);
    const job = main.querySelector("[data-stream]");
    if (job) watch(job);
    else closeStream();
    if (main.hasAttribute("data-live")) refresh(stream ? STREAM_LOOK_MS : LOOK_AGAIN_MS);
  };
  start(document.querySelector("main"));
})();
