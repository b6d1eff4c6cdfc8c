;;; mailsync-folders-rows.el --- Folders as the engine knows them, and what is said of each  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Which folders there are, and which wait to be synced, the engine tells when
;; it is asked: all of them when the list is opened, those with which something
;; is the matter when something has happened.  The rest mailsync-history.el
;; knows.  The list of them is mailsync-folders.el's business.

;;; Code:

(eval-when-compile (require 'cl-lib))
(require 'seq)
(require 'subr-x)
(require 'mailsync-history)
(require 'mailsync-log)
(require 'mailsync-pipe)

;;;; Internal variables

(cl-defstruct (mailsync-folders-row
               (:copier nil) (:constructor mailsync-folders--make-row)
               ;; Without keys, which would be garbage.
               (:constructor mailsync-folders--read-row
                             (account name directory truename letters synced
                                      aside)))
  "A folder as the engine knows it.
LETTERS are characters: w (it waits to be synced), r (it is being synced), u
\(it has something to push).  SYNCED is when it was synced last, a float, ASIDE
why it could not be, a string; either may be nil."
  account name directory truename letters synced aside
  ;; What `mailsync-folders--key' returns.
  key
  ;; As `tabulated-list-entries' has it.
  entry)

(defvar mailsync-folders--news (make-hash-table :test #'equal)
  "Hash table with keys of folders of which there is news.")

(defvar mailsync-folders-waiting-hook
  '(mailsync-folders--refresh-folders mailsync-status-refill)
  "Functions called when something else is the matter with folders.")

(defvar mailsync-folders--waiting nil
  "Rows of the folders with which something was the matter at the last look.")

(defvar-local mailsync-folders--account nil
  "The account whose folders the buffer lists; nil: all.")

(defvar-local mailsync-folders--rows nil
  "Hash table from keys (ACCOUNT . TRUENAME) to rows, or nil if none came yet.")

;;;; Declarations

(defvar mailsync--unchecked)
(declare-function mailsync--errand "mailsync-dispatch"
                  (slot function callback &rest args))
(declare-function mailsync-folders--refresh-folders "mailsync-folders" ())
(declare-function mailsync-gnus-folder-groups "mailsync-gnus-folders" (folder))
(declare-function mailsync-gnus-ready-p "mailsync-gnus-moment")
(declare-function mailsync-module--folders "ext:mailsync-engine")
(declare-function mailsync-status-refill "mailsync-status" ())

;;;; What the engine knows

(defun mailsync-folders-ask (slot account all callback)
  "Have the engine name the folders of ACCOUNT, or of all accounts if it is nil.
Unless ALL is non-nil, those are left out with which all is well.  CALLBACK is
called later with a list of rows.  SLOT is as for `mailsync--errand'."
  (mailsync--errand slot #'mailsync-module--folders
                    (lambda (fields)
                      (funcall callback (mailsync-folders--parse fields)))
                    (and account (mailsync-pipe-encode-text account))
                    (and all t)))

(defun mailsync-folders--text (bytes)
  "BYTES of an answer as a text; those of most folders are one already."
  (if (string-match-p "\\`[[:ascii:]]*\\'" bytes) bytes
    (mailsync-pipe-decode-text bytes)))

(defun mailsync-folders--file (bytes)
  "BYTES of an answer as Emacs names a file."
  (if (string-match-p "\\`[[:ascii:]]*\\'" bytes) bytes
    (mailsync-pipe-decode bytes)))

(defun mailsync-folders--parse (fields)
  "The rows that FIELDS, of an answer, describe."
  (let ((now (float-time))
        ;; It is the same for a row and the next.
        encoded account rows)
    (while fields
      (let ((name (pop fields))
            (folder (mailsync-folders--text (pop fields)))
            (directory (mailsync-folders--file (pop fields)))
            (truename (pop fields))
            (letters (pop fields))
            (ago (pop fields))
            (aside (pop fields)))
        (unless (equal name encoded)
          (setq encoded name
                account (mailsync-pipe-decode-text name)))
        (push (mailsync-folders--read-row
               account folder directory
               (if (equal truename "") directory
                 (mailsync-folders--file truename))
               (append letters nil)
               (and (not (equal ago ""))
                    (- now (/ (string-to-number ago) 1000.0)))
               (and (not (equal aside ""))
                    (mailsync-pipe-decode-text aside)))
              rows)))
    (nreverse rows)))

(defun mailsync-folders--key (row)
  "The key of ROW."
  (or (mailsync-folders-row-key row)
      (setf (mailsync-folders-row-key row)
            (cons (mailsync-folders-row-account row)
                  (mailsync-folders-row-truename row)))))

(defun mailsync-folders-look ()
  "Ask the engine which folders something is the matter with.
If that is news, `mailsync-folders-waiting-hook' is run later."
  (mailsync-folders-ask
   "waiting" nil nil
   (lambda (rows)
     (unless (equal (mapcar #'mailsync-folders--matter rows)
                    (mapcar #'mailsync-folders--matter
                            mailsync-folders--waiting))
       (dolist (row (append rows mailsync-folders--waiting))
         (puthash (mailsync-folders--key row) t mailsync-folders--news))
       (setq mailsync-folders--waiting rows)
       (run-hooks 'mailsync-folders-waiting-hook)))))

(defun mailsync-folders--matters-p (row)
  "Non-nil if ROW waits, or something is not well with it."
  (or (mailsync-folders-row-letters row) (mailsync-folders-row-aside row)))

(defun mailsync-folders--matter (row)
  "What is the matter with ROW, to be compared with `equal'."
  (list (mailsync-folders--key row)
        (mailsync-folders-row-letters row)
        (mailsync-folders-row-aside row)))

(defun mailsync-folders-waiting (account)
  "Rows of ACCOUNT's folders with which something was the matter at the last look."
  (seq-filter (lambda (row) (equal (mailsync-folders-row-account row) account))
              mailsync-folders--waiting))

;;;; What a row says

(defun mailsync-folders-waits (row)
  "What ROW waits for, in words; \"\" for nothing."
  (let* ((letters (mailsync-folders-row-letters row))
         (check (and (gethash (mailsync-folders--key row) mailsync--unchecked)
                     "check"))
         (sync (cond ((null letters) nil)
                     ((memq ?r letters) "syncing")
                     ((memq ?w letters) "sync")
                     ((memq ?u letters) "push"))))
    ;; Most wait for nothing, and there are thousands.
    (if (and check sync) (concat check "+" sync) (or check sync ""))))

(defun mailsync-folders--last-sync (row)
  "The last sync of ROW: (TIME . STATUS), or nil.
A folder that failed alone has nil for a time, where none is known."
  (let ((told (mailsync-history-sync (mailsync-folders-row-account row)
                                     (mailsync-folders-row-name row)))
        (time (mailsync-folders-row-synced row)))
    (cond
     ((mailsync-folders-row-aside row) (cons (car told) 'failed))
     ;; The engine's clock and ours differ by how long its answer took.
     ((and time (or (null told) (> time (+ (car told) 1)))) (cons time 'ok))
     (t told))))

(defun mailsync-folders--groups (row)
  "Gnus's groups of ROW, full names."
  (and (featurep 'mailsync-gnus)
       (mailsync-gnus-ready-p)
       (mailsync-gnus-folder-groups (mailsync-folders--place row))))

(defun mailsync-folders--place (row)
  "ROW as a plist, as a change is."
  (list :account (mailsync-folders-row-account row)
        :folder (mailsync-folders-row-name row)
        :directory (mailsync-folders-row-directory row)
        :truename (mailsync-folders-row-truename row)))

(defvar mailsync-folders--times nil
  "Hash table from times to how they are shown, while many are written.")

(defun mailsync-folders--time (time)
  "TIME as a row shows it, \"\" for nil."
  (cond
   ((null time) "")
   ;; Thousands were checked at one time.
   (mailsync-folders--times
    (or (gethash time mailsync-folders--times)
        (puthash time (mailsync-history-clock time) mailsync-folders--times)))
   (t (mailsync-history-clock time))))

(defun mailsync-folders--columns (row)
  "What the columns of ROW say, a vector of strings.
Behind them are the times by which rows are sorted, of its change, its check
and its sync, numbers."
  (let* ((known (gethash (mailsync-folders--key row)
                         mailsync-history--folders))
         (result (and known (mailsync-history-folder-result known)))
         (sync (mailsync-folders--last-sync row))
         (ok (memq (cdr sync) '(nil ok partial)))
         (trouble 'mailsync-trouble))
    (vector
     (mailsync-folders-row-name row)
     (mailsync-folders-row-account row)
     (mailsync-folders-waits row)
     (mailsync-folders--time (and known (mailsync-history-folder-changed known)))
     (if (and known (mailsync-history-folder-changed known))
         (concat (mailsync-history-kinds (mailsync-history-folder-kinds known))
                 " " (mailsync-history-origins
                      (mailsync-history-folder-origins known)))
       "")
     (cond
      ((memq result '(nil checked))
       (mailsync-folders--time
        (and known (mailsync-history-folder-checked known))))
      ((eq result 'failed)
       (propertize (mailsync-history-result result) 'face trouble))
      (t (mailsync-history-result result)))
     (if ok
         (mailsync-folders--time (car sync))
       (propertize (symbol-name (cdr sync)) 'face trouble))
     (if-let ((groups (mailsync-folders--groups row)))
         (mapconcat #'identity groups " ")
       "")
     (or (and known (mailsync-history-folder-changed known)) 0)
     (or (and known (mailsync-history-folder-checked known)) 0)
     (or (car sync) 0))))

(defun mailsync-folders--say (row)
  "All that is known of ROW, in a few lines."
  (let* ((known (gethash (mailsync-folders--key row)
                         mailsync-history--folders))
         (sync (mailsync-folders--last-sync row)))
    (string-join
     (delq nil
           (list (mailsync-folders-row-directory row)
                 (and known (mailsync-history-folder-checked known)
                      (format "%s %s"
                              (mailsync-history-result
                               (mailsync-history-folder-result known))
                              (mailsync-log-time
                               (mailsync-history-folder-checked known))))
                 (and (car sync)
                      ;; It was not, though its run went well for others.
                      (not (mailsync-folders-row-aside row))
                      (format "%s %s"
                              (if (memq (cdr sync) '(nil ok partial)) "synced"
                                (format "not synced (%s)" (cdr sync)))
                              (mailsync-log-time (car sync))))
                 (mailsync-folders-row-aside row)))
     "\n")))

(provide 'mailsync-folders-rows)
;;; mailsync-folders-rows.el ends here
