// The camera: opened by a click only, for one image or for live answers, and stopped with its dialog.

import { liveAnswer } from "./show.js";

const $ = (id) => document.getElementById(id);
const video = document.querySelector("video");
const LIVE_SIDE = 640; // pixels of the longer side that are sent
const LIVE_PAUSE = 150; // milliseconds between two images
const REFUSALS = {
  NotAllowedError: "Camera access was denied. Allow it in the address bar, or choose an image.",
  NotFoundError: "No camera was found. Choose an image instead.",
  NotReadableError: "Another program uses the camera. Close it, or choose an image.",
};

let stream = null;
let session = 0; // of live answers; an answer to an earlier one is dropped

function draw(longest = Infinity) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  [canvas.width, canvas.height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas;
}

const toBlob = (canvas, type) => new Promise((resolve) => canvas.toBlob(resolve, type));

function stopLive() {
  session += 1;
  $("live").setAttribute("aria-pressed", "false");
  $("live-answer").hidden = true;
}

async function runLive(classify, report) {
  session += 1;
  const own = session;
  $("live").setAttribute("aria-pressed", "true");
  $("live-answer").hidden = false;
  $("live-answer").textContent = "…";
  while (own === session) {
    try {
      const blob = video.videoWidth ? await toBlob(draw(LIVE_SIDE), "image/jpeg") : null;
      const answer = blob && (await classify(new File([blob], "live.jpg", { type: "image/jpeg" })));
      if (own !== session) return;
      if (answer) $("live-answer").textContent = liveAnswer(answer);
    } catch (error) {
      if (own !== session) return;
      stopLive();
      report(error.message);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, LIVE_PAUSE));
  }
}

// `add` takes a captured image, `classify` answers one image, `report` shows an error.
export function setUpCamera({ add, classify, report }) {
  $("camera").onclick = async () => {
    if (!navigator.mediaDevices) {
      report("Browsers allow the camera only on localhost or https addresses. Choose an image instead.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      report(REFUSALS[error.name] ?? "The camera cannot be used. Choose an image instead.");
      return;
    }
    video.srcObject = stream;
    $("shot").showModal();
  };
  $("take").onclick = async () => {
    const blob = await toBlob(draw(), "image/png");
    if (blob) add(blob);
    $("shot").close();
  };
  $("live").onclick = () => ($("live").getAttribute("aria-pressed") === "true" ? stopLive() : runLive(classify, report));
  $("leave").onclick = () => $("shot").close();
  $("shot").onclose = () => {
    stopLive();
    stream?.getTracks().forEach((one) => one.stop());
    stream = null;
  };
}
