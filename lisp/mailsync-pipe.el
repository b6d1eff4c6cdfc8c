;;; mailsync-pipe.el --- The pipe from mailsync's module, read  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Frames come in through a pipe process, in whatever pieces Emacs reads
;; them; the module's src/frame.rs says what they look like.  The filter
;; puts frames together, acknowledges each as soon as it is whole, and hands
;; its records to a handler, as lists of unibyte strings: data, never code.
;; It decides nothing.  What does not parse closes the pipe: its owner opens
;; a new one, and the engine puts everything in doubt.

;;; Code:

(require 'mailsync-log)

;;;; Internal variables

(defconst mailsync-pipe--version 1
  "The version of the format that we read.")

(defconst mailsync-pipe--name " *mailsync pipe*"
  "The name of each pipe process.")

(defconst mailsync-pipe--longest 1048576
  "No frame is longer than this, in bytes; what says so is garbage.")

(defconst mailsync-pipe--records
  '(("change" 8) ("state" 3) ("ready" 2) ("log" 2) ("bye" 1) ("answer" 5 1)
    ("remote" 5) ("secret" 7) ("sync" 6) ("syncing" 4 1) ("plan" 3 1) ("synced" 13 1))
  "Names of records with how many fields follow the name.
Where there is a second number, as many fields as it says, times what the last
of the first ones says, come after those.")

;;;; Declarations

(declare-function mailsync-module--acknowledge "ext:mailsync-engine")

;;;; Code

(defun mailsync-pipe-open (generation handler broken)
  "Make a pipe process whose frames have to be of GENERATION.
HANDLER is called in the filter with each record, a list of unibyte strings;
it must only take note.  BROKEN is called, later and once, with the process
and a text that says why, when it ends without `mailsync-pipe-close'."
  (let* ((buffer (generate-new-buffer mailsync-pipe--name t))
         ;; Otherwise Emacs waits to see whether more comes: 10 to 50 ms.
         (process-adaptive-read-buffering nil)
         (process (make-pipe-process :name mailsync-pipe--name
                                     :buffer buffer
                                     :noquery t
                                     :coding 'binary
                                     :filter #'mailsync-pipe--filter
                                     :sentinel #'mailsync-pipe--sentinel)))
    ;; It cannot be made without one, which somebody could kill, and which a
    ;; quit could leave behind.
    (set-process-buffer process nil)
    (kill-buffer buffer)
    (process-put process 'mailsync-generation generation)
    (process-put process 'mailsync-handler handler)
    (process-put process 'mailsync-broken broken)
    process))

(defun mailsync-pipe-close (process)
  "End PROCESS, for good and without a word."
  (when (processp process)
    (process-put process 'mailsync-broken nil)
    (delete-process process)))

(defun mailsync-pipe-close-all ()
  "End every pipe, also one that a quit has kept its owner from knowing."
  (dolist (process (process-list))
    (when (eq (process-filter process) #'mailsync-pipe--filter)
      (mailsync-pipe-close process))))

(defun mailsync-pipe--break (process why)
  "End PROCESS and tell its owner WHY, from a clean stack."
  (let ((broken (process-get process 'mailsync-broken)))
    (mailsync-pipe-close process)
    (when broken
      (run-at-time 0 nil #'mailsync--undisturbed broken process why))))

(defun mailsync-pipe-quit (process)
  "End PROCESS, since a quit has ended what was done with what it brought."
  ;; Emacs has lifted it, see `mailsync--undisturbed'.
  (setq inhibit-quit t)
  (process-put process 'mailsync-quit t)
  (mailsync-pipe--break process "C-g ended what was done with what it brought"))

(defun mailsync-pipe--sentinel (process _event)
  "Tell the owner of PROCESS that somebody ended it."
  (mailsync-pipe-see process))

(defun mailsync-pipe-see (process)
  "If PROCESS has ended and its owner was not told so, tell it.
A quit may have ended the sentinel that was to do so."
  (unless (process-live-p process)
    (mailsync-pipe--break process "its process was deleted")))

(defun mailsync-pipe--filter (process bytes)
  "Take in BYTES from PROCESS."
  (condition-case nil
      (mailsync--undisturbed #'mailsync-pipe--take-in process bytes)
    ;; Before it began, or after its end.  Emacs would wait for a while.
    (quit (mailsync-pipe-quit process))))

(defun mailsync-pipe--take-in (process bytes)
  "Take in BYTES from PROCESS, all of them or none."
  ;; An error here would stop Emacs for a second or two.
  (condition-case err
      (let ((pieces (cons bytes (process-get process 'mailsync-pieces)))
            (count (+ (length bytes) (or (process-get process 'mailsync-count) 0)))
            (need (or (process-get process 'mailsync-need) 1))
            (more t))
        (while (and more (>= count need))
          (let* ((input (apply #'concat (nreverse pieces)))
                 (rest (mailsync-pipe--frame process input)))
            (setq pieces (list (car rest))
                  count (length (car rest))
                  need (cdr rest)
                  more (< count (length input)))))
        (process-put process 'mailsync-pieces pieces)
        (process-put process 'mailsync-count count)
        (process-put process 'mailsync-need need))
    (quit
     (mailsync-pipe-quit process))
    (error
     (mailsync-pipe--break process (error-message-string err)))))

(defun mailsync-pipe--frame (process input)
  "Read one frame of PROCESS from the beginning of INPUT.
Return what follows it, consed to how many bytes there have to be before
another look is worth while."
  (let ((line (string-search "\n" input)))
    (if (or (null line) (> line 80))
        (if (> (length input) 80)
            (error "No header in %d bytes" (length input))
          (cons input (1+ (length input))))
      (mailsync-pipe--frame-at process input (1+ line)))))

(defun mailsync-pipe--header (line)
  "The numbers in LINE, the first one of a frame.
Without a regexp: between two frames others use so many that Emacs would compile
it anew each time."
  (let ((space (and (string-prefix-p "mailsync " line) 8))
        numbers)
    (while space
      (let* ((next (string-search " " line (1+ space)))
             (word (substring line (1+ space) next))
             (number (string-to-number word)))
        (push (and (natnump number) (equal word (number-to-string number)) number)
              numbers)
        (setq space next)))
    (unless (and (= (length numbers) 4) (not (memq nil numbers)))
      (error "Not a header: %S" line))
    (nreverse numbers)))

(defun mailsync-pipe--frame-at (process input start)
  "Read one frame of PROCESS from INPUT, whose header ends before START.
Return what `mailsync-pipe--frame' does."
  (let* ((numbers (mailsync-pipe--header (substring input 0 (1- start))))
         (generation (nth 1 numbers))
         (sequence (nth 2 numbers))
         (end (+ start (nth 3 numbers))))
    (unless (= (car numbers) mailsync-pipe--version)
      (error "Version %s of the format, not %s" (car numbers)
             mailsync-pipe--version))
    (when (> end mailsync-pipe--longest)
      (error "A frame of %s bytes" (nth 3 numbers)))
    (if (<= (length input) end)
        (cons input (1+ end))
      (unless (eq (aref input end) ?\n)
        (error "No newline after a frame of %s bytes" (nth 3 numbers)))
      (let ((records (mailsync-pipe--parse input start end)))
        ;; A frame of an older pipe, or of none of ours, is nobody's.
        (when (= generation (process-get process 'mailsync-generation))
          ;; The engine may send the next one while we work on this.
          (unless (zerop sequence)
            (mailsync-module--acknowledge generation sequence))
          (mapc (process-get process 'mailsync-handler) records)
          (process-put process 'mailsync-frames
                       (1+ (or (process-get process 'mailsync-frames) 0)))))
      (cons (substring input (1+ end)) 1))))

(defun mailsync-pipe--parse (input start end)
  "Split INPUT, from START to END, into records, lists of unibyte strings."
  (let (fields records)
    ;; Each field ends with NUL.
    (while (< start end)
      (let ((stop (string-search "\0" input start)))
        (unless (and stop (< stop end))
          (error "A field does not end"))
        (push (substring input start stop) fields)
        (setq start (1+ stop))))
    (setq fields (nreverse fields))
    (while fields
      (let* ((name (car fields))
             (form (or (cdr (assoc name mailsync-pipe--records))
                       (error "Unknown record %S" name)))
             (record fields)
             (last (mailsync-pipe--last record (car form))))
        (when (cdr form)
          (setq last (mailsync-pipe--last
                      last (* (cadr form) (string-to-number (car last))))))
        ;; There may be thousands, which are not copied.
        (setq fields (cdr last))
        (setcdr last nil)
        (push record records)))
    (nreverse records)))

(defun mailsync-pipe--last (fields count)
  "The cons that is COUNT after the first of FIELDS; without one it is an error."
  (or (nthcdr count fields)
      (error "A record ends %d fields too early" (- (1+ count) (length fields)))))

;;;; File names and texts

(defun mailsync-pipe-encode (name)
  "NAME, a file name, as the bytes that the module wants."
  (encode-coding-string name (or file-name-coding-system
                                 default-file-name-coding-system 'utf-8)
                        t))

(defun mailsync-pipe-decode (bytes)
  "BYTES from the module, as Emacs names files."
  (decode-coding-string bytes (or file-name-coding-system
                                  default-file-name-coding-system 'utf-8)))

(defun mailsync-pipe-encode-text (text)
  "TEXT as the bytes that the module wants."
  (encode-coding-string text 'utf-8-unix))

(defun mailsync-pipe-decode-text (bytes)
  "BYTES from the module, a text or the canonical name of a folder.
What is not UTF-8 is kept as raw bytes."
  (decode-coding-string bytes 'utf-8-unix))

(provide 'mailsync-pipe)
;;; mailsync-pipe.el ends here
