;;; demo.el --- A throwaway Gnus that mailsync watches  -*- lexical-binding: t -*-

;;; Commentary:

;; Run by demo.sh, which sets the environment.  At first everything is on a server: mailsync has it
;; fetched.  Then a feeder delivers messages; `demo--arrived', on `mailsync-new-mail-functions',
;; says what mailsync did about each.  At last a message is marked in Gnus, and looked for on the
;; server.  Only mailsync's public names are used here: what stands in `demo' is what a user writes.

;;; Code:

(require 'cl-lib)
(require 'mailsync)
(require 'gnus)
(require 'gnus-group)

(declare-function fixture-start "../fixtures/gnus-init" (&rest groups))
(declare-function gnus-summary-exit "gnus-sum")
(declare-function gnus-summary-tick-article "gnus-sum")

(defvar demo--pending nil
  "The times of the deliveries nobody has seen yet: (GROUP . TIME), oldest first.")
(defvar demo--delivered 0 "How many messages were delivered.")
(defvar demo--seen 0 "How many of them mailsync brought to Gnus.")
(defvar demo--delays nil "How many milliseconds each took.")
(defvar demo--last "" "What arrived last, for the header line.")
(defvar demo--mbsyncrc (getenv "DEMO_MBSYNCRC")
  "The configuration of mbsync, if that is shown.")
(defvar demo--syncs nil "How the syncs ended, the last one first: plists.")
(defvar demo--feeder nil "The process that delivers.")

(defun demo--project-file (name)
  "The file NAME of the project."
  (expand-file-name name (getenv "DEMO_PROJECT")))

(defun demo--number (variable default)
  "The number that the environment has in VARIABLE, or DEFAULT."
  (let ((value (getenv variable)))
    (if (member value '(nil "")) default (string-to-number value))))

(defun demo--group (name)
  "The Gnus group of the folder NAME."
  (concat (getenv "DEMO_METHOD") ":" name))

(defun demo--names ()
  "The names of the folders."
  (directory-files (getenv "DEMO_SERVER") nil directory-files-no-dot-files-regexp))

(defun demo--arrived (_account changes)
  "Tell which groups have new mail, by CHANGES."
  ;; What the feeder said before it delivered them may still wait to be read.
  (accept-process-output demo--feeder 0 nil t)
  (dolist (change changes)
    (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
      (dotimes (_ (- new old))
        (let* ((delivery (assoc group demo--pending))
               (delay (and delivery (round (* 1000 (- (float-time) (cdr delivery))))))
               (text (format "%-14s %3d -> %-3d after %s ms" (gnus-group-real-name group)
                             old new (or delay "?"))))
          (setq demo--pending (delq delivery demo--pending)
                demo--last (format "%s %d -> %d, %s ms" (gnus-group-real-name group) old new delay))
          (cl-incf demo--seen)
          (when delay (push delay demo--delays))
          (if noninteractive
              (message "%s" text)
            (force-mode-line-update t)))))))

(defun demo--feed (interval count &rest more)
  "Deliver COUNT messages (0: no end), INTERVAL seconds apart.
MORE are further arguments of the feeder."
  (setq demo--feeder
        (make-process
         :name "demo-feeder" :noquery t :connection-type 'pipe
         :command `("python3" ,(demo--project-file "test/demo/feeder.py") ,(getenv "DEMO_SERVER")
                    "--interval" ,(number-to-string interval) "--count" ,(number-to-string count)
                    ,@more)
         :filter (let ((rest ""))
                   (lambda (_process text)
                     (let ((lines (split-string (concat rest text) "\n")))
                       (setq rest (car (last lines)))
                       (dolist (line (butlast lines))
                         (when (string-match "\\`\\([0-9.]+\\) \\(.+\\)" line)
                           (cl-incf demo--delivered)
                           (setq demo--pending
                                 (append demo--pending
                                         (list (cons (demo--group (match-string 2 line))
                                                     (string-to-number (match-string 1 line))))))))))))))

(defun demo--wait (seconds until)
  "Wait until UNTIL answers non-nil, or for SECONDS.  Return its answer."
  (let ((deadline (time-add nil seconds))
        done)
    (while (not (or (setq done (funcall until))
                    (time-less-p deadline nil)))
      (accept-process-output nil 0.05))
    done))

(defun demo--synced (_account result)
  "Keep the RESULT of a sync."
  (push result demo--syncs))

(defun demo--first-sync ()
  "Wait until all that is on the server is here."
  (message "Fetching everything from the server ...")
  (demo--wait 120 (lambda () demo--syncs))
  (let ((result (car demo--syncs)))
    (demo--check (eq (plist-get result :status) 'ok) "the first sync: %S" result)
    (message "mbsync has fetched %d folders in %.1f s" (length (demo--names))
             (plist-get result :duration))))

(defun demo--flagged (name)
  "How many messages of the folder NAME are flagged on the server."
  (let ((cur (expand-file-name (concat name "/cur") (getenv "DEMO_FAR"))))
    (length (directory-files cur nil ":2,[A-EG-Z]*F" t))))

(defun demo--mark (name)
  "Tick a message of the folder NAME, and wait until it is flagged on the server."
  (let ((old (demo--flagged name))
        (start (float-time)))
    (gnus-group-read-group t t (demo--group name))
    (goto-char (point-min))
    (gnus-summary-tick-article)
    (gnus-summary-exit)
    (demo--check (demo--wait 60 (lambda () (> (demo--flagged name) old)))
                 "what was marked in Gnus is not on the server: %S" (car demo--syncs))
    (message "%-14s ! in Gnus, flagged on the server after %.1f s" name (- (float-time) start))))

(defun demo--check (condition format &rest arguments)
  "Unless CONDITION, say FORMAT with ARGUMENTS and exit."
  (unless condition
    (message "FAILED: %s" (apply #'format format arguments))
    (kill-emacs 1)))

(defun demo--transcript ()
  "Let messages arrive and exit 0 only if each count rose, and by mailsync alone."
  (let* ((count (demo--number "DEMO_MESSAGES" 10))
         (interval (demo--number "DEMO_INTERVAL" 0.5))
         (total (lambda () (apply #'+ (mapcar (lambda (name) (gnus-group-unread (demo--group name)))
                                              (demo--names)))))
         (before (funcall total)))
    (message "%d messages, one every %s s, Gnus's own polling off; %d unread before" count interval before)
    (demo--feed interval count)
    (demo--wait (+ 15 (* count (+ interval 0.1)))
                (lambda () (and (= demo--delivered count) (>= demo--seen count))))
    (let ((after (funcall total)))
      (demo--check (= demo--delivered count) "%d of %d messages were delivered" demo--delivered count)
      (demo--check (= demo--seen count) "mailsync brought %d of %d messages" demo--seen count)
      (demo--check (null demo--pending) "not seen: %S" demo--pending)
      (demo--check (= after (+ before count)) "%d unread, not %d" after (+ before count)))
    (when demo--mbsyncrc
      (demo--mark (cadr (demo--names))))
    ;; Was it mailsync?  Without it nothing rises.
    (mailsync-mode -1)
    (let* ((name (car (demo--names)))
           (group (demo--group name))
           (old (gnus-group-unread group)))
      (demo--feed 0 1 "--only" name)
      (demo--wait 2 (lambda () (/= old (gnus-group-unread group))))
      (demo--check (= demo--delivered (1+ count)) "the last message was not delivered")
      (demo--check (= old (gnus-group-unread group)) "a count rose without mailsync")
      (message "%-14s %3d -> %-3d after 2000 ms with mailsync off" name old (gnus-group-unread group)))
    (setq demo--delays (sort demo--delays #'<))
    (message "%d of %d counts rose through mailsync; median %d ms, longest %d ms" demo--seen count
             (nth (/ (length demo--delays) 2) demo--delays) (car (last demo--delays)))
    (kill-emacs 0)))

(defun demo ()
  "Start the demo."
  (setq inhibit-startup-screen t)
  (when noninteractive
    (setq gnus-verbose 0 gnus-verbose-backends 0))
  (load (demo--project-file "test/fixtures/gnus-init") nil t)
  ;; The three lines that a user needs, and one for this show.
  (setq mailsync-accounts
        `(("demo" :maildir ,(getenv "DEMO_STORE")
           ,@(when demo--mbsyncrc
               `(:syncer (mailsync-mbsync "demo" :config ,demo--mbsyncrc))))))
  (add-hook 'mailsync-after-sync-functions #'demo--synced)
  (mailsync-mode 1)
  (when demo--mbsyncrc
    (demo--first-sync))
  (add-hook 'mailsync-new-mail-functions #'demo--arrived)
  (apply #'fixture-start (mapcar #'demo--group (demo--names)))
  (if noninteractive
      (demo--transcript)
    (switch-to-buffer gnus-group-buffer)
    (delete-other-windows)
    (let ((interval (demo--number "DEMO_INTERVAL" 3)))
      (setq header-line-format
            `(,(format " mailsync demo: mail every %s s, C-x C-c ends it  " interval)
              (:eval (propertize demo--last 'face 'bold))))
      (demo--feed interval (demo--number "DEMO_MESSAGES" 0)))))

(provide 'demo)
;;; demo.el ends here
